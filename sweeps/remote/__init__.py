"""A root in an object store: commands work on a local copy of it, drivers upload what they write."""

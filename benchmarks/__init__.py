"""The figures that the README quotes: one script each, ours and its peers on the same work in one run."""

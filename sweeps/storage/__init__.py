"""Where a sweep is kept, and who may write there.

Results in Parquet (`parts`), the study in a `journal` or a `database`, and a root of an object store as a folder in the
`cache`: brought here by `local_copy`, sent back by `sender`. Whoever holds the `lease` writes, nobody else.
"""

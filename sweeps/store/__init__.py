"""The files of one sweep on disk: paths, the lease that says who may write, Parquet parts, trained masks."""

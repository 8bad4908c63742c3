"""MLflow, a mirror of the results: it may fail at any time and be filled again from Parquet."""

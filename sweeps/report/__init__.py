"""The report of a sweep: one HTML page of text, tables and charts."""

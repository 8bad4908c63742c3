"""What `sweeps.report` puts together: words and tables, charts, and the page that holds them."""

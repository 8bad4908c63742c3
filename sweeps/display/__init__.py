"""What is shown on a terminal: a sweep that runs (`panel`), its `status`, its `front`, and tables that fit."""

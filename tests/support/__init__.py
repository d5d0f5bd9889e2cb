"""Hold what several test modules share."""

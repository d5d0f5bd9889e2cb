"""Hold the stores that tasks are kept in."""

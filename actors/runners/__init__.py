"""Hold the ways in which a worker runs a task."""

"""Hold the HTTP routes, one module for each group."""

"""Hold the settings, their defaults file and the logging set-up."""

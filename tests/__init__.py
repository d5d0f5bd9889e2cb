"""Hold the tests: pure ones in unit, those with real processes in system."""

"""Hold everything that has state, and the public face for those who write workers."""

"""Hold one module for each step of the store's schema."""

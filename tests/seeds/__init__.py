"""Test what the seed documents promise, one module for each."""

"""Test the whole with real processes that are killed."""

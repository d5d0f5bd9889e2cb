"""Test the HTTP routes."""

"""Test actor shells."""

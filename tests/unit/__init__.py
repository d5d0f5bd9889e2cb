"""Test decisions: no process, no file that outlives the test."""

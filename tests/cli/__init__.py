"""Test the command line: in this process what needs no server, in processes of their own what does."""

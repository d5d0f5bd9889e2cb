"""Measure Callboard on this machine: how fast, how large, how quickly back. `callboard bench` is its face.

Every figure comes from a real server, started with its defaults in a folder of its own, and stands beside what could be
reached at best: the store without actors, Starlette without a queue.
"""

"""Run one contract suite against every store."""

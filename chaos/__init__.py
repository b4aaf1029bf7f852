"""Doing to runs what happens to them, and checking that nothing is lost; `make chaos`."""

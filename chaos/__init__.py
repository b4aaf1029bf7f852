"""Faults on purpose, and what the commands make of them: each module is a check to run (`-m`)."""

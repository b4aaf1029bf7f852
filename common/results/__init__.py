"""Runs side by side: what they reached, what they cost, and their curves in one picture.

What the originals' ``get_results.py`` did with their logs, for any runs: of this repository, by
their ``summary.csv``, and of the originals, by their logs.
"""

"""Starting a run's processes on one or several machines, and ending all of them when one fails.

`igc.launch.options` reads the command line of ``launch.py``, `igc.launch.job` starts the roles,
again after a failure where that is wanted, and `igc.launch.supervisor` watches them. Each role has
an `igc.launch.agent` beside it, on its own machine, which tells what becomes of it and ends it.
What the roles say of themselves comes from `igc.launch.heartbeat`.
"""

"""What ``doctor.py`` checks. Nothing here imports MXNet; `probe` does, in a process of its own.

- `python`: the Python, MXNet and NumPy in it, the packages beside them;
- `processor`: the threads that MXNet uses, the native operators, what builds them;
- `gpus`: the GPUs, against the machine code of MXNet and of the native operators;
- `places`: the data sets, the disk;
- `probe`: what only a process that loads MXNet can tell; `finding`: a line of the report.
"""

#!/usr/bin/env python
"""Start a training run as several processes, on one machine or on several (``--help``)."""

from igc import cli


def main(argv):
    """Start all, watch them, and leave with the exit code of what failed."""
    from igc.launch import job, options

    return job.run(options.parse(argv))


if __name__ == "__main__":
    cli.run(main)

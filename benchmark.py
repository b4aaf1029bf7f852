"""Time the networks on MXNet, on the native operators and on other engines, side by side."""

from benchmarks import command
from igc import cli

if __name__ == "__main__":
    cli.run(command.main)

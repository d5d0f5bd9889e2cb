"""Hold the command line, one module for each group of commands.

Everything heavy is imported inside the commands, so that `callboard --version` and a typing error answer at once.
"""

import sys


def main() -> None:
    """Run the command line of this process and end the process with its exit code."""
    from callboard.actors.cli.running import run

    sys.exit(run(sys.argv[1:]))

"""What all commands of one command line share."""

from dataclasses import dataclass


@dataclass
class Session:
    """Set by the options in front of the command. debug: show tracebacks."""

    debug: bool = False

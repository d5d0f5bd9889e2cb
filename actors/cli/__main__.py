"""Run the command line as `python -m callboard.actors.cli`, where no console script is installed."""

from callboard.actors.cli import main

main()

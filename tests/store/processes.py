"""Programs that tests of the store run as processes of their own, to be stopped and killed; `start` runs one."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callboard.actors.store import Change
from callboard.actors.store.opening import open_store
from callboard.actors.store.turn import Turn
from tests.store.made import QUEUE, insert, put, url


@contextmanager
def start(program: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run one of the programs below until the block ends; its lines come through `stdout`."""
    command = [sys.executable, "-m", "tests.store.processes", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that the process prints: it blocks until then, and a death ends it."""
    assert process.stdout is not None
    text = process.stdout.readline().strip()
    assert text, "the process ended without a word"
    return text


def hold_turn(path: Path) -> None:
    """Hold the writers' turn until standard input ends."""
    with Turn(path).taken():
        say("held")
        sys.stdin.read()


def stay_in_transaction(path: Path) -> None:
    """Insert 500 tasks and neither commit nor end."""
    owner, _ = open_store(url(path)).own(QUEUE)
    with owner.transaction() as transaction:
        transaction.apply(Change(inserts=[insert(number) for number in range(500)]))
        say("written")
        sys.stdin.read()


def submit_tens(path: Path) -> None:
    """Commit ten tasks at a time for ever, and say how many there are after each commit."""
    owner, _ = open_store(url(path)).own(QUEUE)
    for first in range(0, 10_000_000, 10):
        put(owner, *(insert(first + place) for place in range(10)))
        say(str(first + 10))


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    {"hold_turn": hold_turn, "stay_in_transaction": stay_in_transaction, "submit_tens": submit_tens}[sys.argv[1]](
        Path(sys.argv[2]),
    )

"""Subscribers to the server's events, each a process of its own that reads and counts them and does nothing else.

Run as a program, this is such a subscriber.
"""

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from callboard.actors.bench.load import BenchFailed

SUBSCRIBERS: Final = 2
EXPECTED: Final = ("enqueued", "started", "completed")
"""What happens to each task."""
MISSING: Final = ("gap", "dropped")
SILENCE_SECONDS: Final = 20.0
QUIET_SECONDS: Final = 0.5
LINGER_SECONDS: Final = 4.0
"""The server goes on following for a moment when they have gone, which must not weigh on what is measured next."""
_PIECE: Final = 1 << 18
_GATHERED_BYTES: Final = 64_000_000


class Listeners:
    """Some subscribers that are running."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def check(self, tasks: int) -> None:
        """End them. Raises `BenchFailed` unless each has seen all that happened to so many tasks."""
        for process in self._processes:
            said, _ = process.communicate(f"{tasks * len(EXPECTED)}\n", timeout=SILENCE_SECONDS * 2)
            seen = json.loads(said) if said else {}
            if [seen.get(kind) for kind in EXPECTED] != [tasks] * len(EXPECTED) or any(seen[kind] for kind in MISSING):
                raise BenchFailed(f"a subscriber has not seen all events of {tasks} tasks: {seen}")


@contextmanager
def listening(host: str, port: int, queue: str) -> Iterator[Listeners]:
    """Have subscribers follow a queue's events in the block."""
    command = [sys.executable, "-m", __name__, host, str(port), queue]
    with ExitStack() as running:
        processes = []
        for _ in range(SUBSCRIBERS):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running.enter_context(process)
            running.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise BenchFailed("a subscriber could not subscribe")
        yield Listeners(processes)
    time.sleep(LINGER_SECONDS)


def main() -> None:
    """Be a subscriber: say when subscribed; once told how many events there were, await them and print the counts."""
    host, port, queue = sys.argv[1:]
    with socket.create_connection((host, int(port)), SILENCE_SECONDS) as connection:
        connection.sendall(f"GET /api/events?queue={queue} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        if b" 200 " in connection.recv(_PIECE):
            _let_pass(connection)
            print("subscribed", flush=True)  # noqa: T201 - as the docstring says
            print(json.dumps(_count(connection)), flush=True)  # noqa: T201


def _let_pass(connection: socket.socket) -> None:
    """Skip what is still on its way, of tasks that have ended: where another has only just left, it was being followed."""
    while select.select([connection], [], [], QUIET_SECONDS)[0]:
        if not connection.recv(_PIECE):
            break


def _count(connection: socket.socket) -> dict[str, int]:
    """Read all events, and count them when no more are waited for or much has gathered: counting is not following."""
    counts = dict.fromkeys((*EXPECTED, *MISSING), 0)
    wanted: int | None = None
    text = bytearray()
    while wanted is None or sum(counts.values()) < wanted:
        sources = [connection, sys.stdin] if wanted is None else [connection]
        ready, _, _ = select.select(sources, [], [], None if wanted is None else SILENCE_SECONDS)
        if sys.stdin in ready:
            wanted = int(sys.stdin.readline() or "0")
        if connection in ready:
            piece = connection.recv(_PIECE)
            text += piece
            if not piece:
                break
        elif not ready:
            break
        if wanted is not None or len(text) > _GATHERED_BYTES:
            _count_lines(text, counts)
    return counts


def _count_lines(text: bytearray, counts: dict[str, int]) -> None:
    """Count the whole lines that name an event, and leave what follows the last of them."""
    end = text.rfind(b"\n") + 1
    for kind in counts:
        counts[kind] += text.count(f"event: {kind}\n".encode(), 0, end)
    del text[:end]


if __name__ == "__main__":
    main()

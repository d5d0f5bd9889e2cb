"""Follow events in a thread or a process of their own, and say whether a task's events make sense."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread

from callboard.actors import Event
from callboard.actors.local_subscription import LocalSubscription
from callboard.actors.sse import SseReader
from callboard.actors.subscription import Subscription
from tests.support.polling import eventually

MISSING = {"gap", "dropped"}
WHOLE = ("enqueued", "started", "completed")
"""What happens to a task that ends well at once."""


class Heard:
    """What a subscription has brought so far; a thread collects it until it is closed."""

    def __init__(self, subscription: Subscription | LocalSubscription) -> None:
        self.events: list[Event] = []
        self.failure: BaseException | None = None
        self._subscription = subscription
        self._ended = False
        self._thread = Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        try:
            for event in self._subscription:
                self.events.append(event)
                if self._ended:
                    return
        except BaseException as error:  # noqa: BLE001 - the test is to see it
            self.failure = error

    def kinds(self, task_id: str) -> tuple[str, ...]:
        """Return what has happened to a task."""
        return tuple(str(event.kind) for event in list(self.events) if event.task_id == task_id)

    def by_task(self) -> dict[str, tuple[str, ...]]:
        """Return what has happened to each task."""
        return kinds_by_task(list(self.events))

    def missing(self) -> list[Event]:
        """Return the notices that something is missing."""
        return [event for event in list(self.events) if event.kind in MISSING]

    def until(self, look: Callable[["Heard"], bool]) -> None:
        """Wait for events that make this true; a subscription that has failed fails the test."""
        eventually(lambda: look(self) or self.failure is not None, within=40)
        assert self.failure is None, self.failure
        assert look(self)


def kinds_by_task(events: Sequence[Event]) -> dict[str, tuple[str, ...]]:
    """Return what has happened to each task, in order."""
    found: dict[str, list[str]] = {}
    for event in events:
        if event.task_id:
            found.setdefault(event.task_id, []).append(str(event.kind))
    return {task: tuple(kinds) for task, kinds in found.items()}


class Curl:
    """curl in a process of its own, which follows a server's events into a file."""

    def __init__(self, file: Path, url: str, *arguments: str) -> None:
        self.file = file
        command = ["curl", "--silent", "--no-buffer", *arguments, "--output", str(file), f"{url}/api/events"]
        self.process = subprocess.Popen(command)

    def text(self) -> str:
        """Return what has come."""
        return self.file.read_text() if self.file.exists() else ""

    def events(self) -> list[Event]:
        """Return the events that have come."""
        return SseReader().feed(self.text().encode())


@contextlib.contextmanager
def curl(file: Path, url: str, *arguments: str) -> Iterator[Curl]:
    """Have curl follow events from the beginning of the block to its end."""
    running = Curl(file, url, *arguments)
    try:
        eventually(lambda: running.text().startswith("retry:"))
        yield running
    finally:
        running.process.kill()
        running.process.wait()

"""The Registry's roll of queues: who is up, who is down and why, and when to try again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from thespian.actors import ActorAddress

from callboard.actors.children import Child
from callboard.actors.dead_letter import NAME as DEAD_LETTER
from callboard.actors.messages import DeleteQueue, QueueReady
from callboard.actors.store import QueueRow, Store
from callboard.actors.task import TaskState
from callboard.conf.settings import QueueSettings

_WAITS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the next start, by how many have failed in a row."""
_HEALTHY_SECONDS = 5.0
_HISTORY = frozenset({TaskState.COMPLETED, TaskState.CANCELLED})


@dataclass(slots=True)
class Entry:
    """One queue. All times are monotonic seconds."""

    name: str
    child: Child | None = None
    ready: QueueReady | None = None
    address: ActorAddress | None = None
    down: str = ""
    """Why it could not start the last time."""
    standby: str = ""
    """Who owns it instead: another server on the same store."""
    pinged: float | None = None
    """When it was asked for a sign of life that has not come yet."""
    stopping: bool = False
    stopped: bool = False
    interrupted: int = 0
    deletion: tuple[ActorAddress, DeleteQueue] | None = None
    failures: int = 0
    not_before: float = 0.0

    def came_up(self, ready: QueueReady, address: ActorAddress) -> None:
        """Note that its owner takes requests."""
        self.ready, self.address, self.down, self.pinged = ready, address, "", None
        self.standby = ""

    @property
    def why_not(self) -> str:
        """Why it takes no requests, "" if it does."""
        if self.ready is not None:
            return ""
        if self.standby:
            return f"another server owns queue {self.name!r} ({self.standby}); this one takes over when that is gone"
        return self.down or "it is starting"

    def went_down(self, now: float, uptime: float) -> None:
        """Note that its owner is gone; one that had been well for a while is restarted at once."""
        if self.ready is not None and uptime > _HEALTHY_SECONDS:
            self.failures = 0
        self.child = self.ready = self.address = self.pinged = None
        self.standby = ""
        self.not_before = now + _WAITS[min(self.failures, len(_WAITS) - 1)]
        self.failures += 1

    def have_settings(self, settings: QueueSettings, version: int) -> None:
        """Note new settings of a queue that is up."""
        if self.ready is not None and version >= self.ready.settings_version:
            self.ready = replace(self.ready, settings=settings, settings_version=version)


@dataclass(slots=True)
class Roll:
    """All queues by name."""

    _entries: dict[str, Entry] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Entry]:
        """Go through all queues."""
        return iter(list(self._entries.values()))

    def add(self, name: str) -> Entry:
        """Take up a queue that is to be started."""
        return self._entries.setdefault(name, Entry(name))

    def get(self, name: str) -> Entry | None:
        """Return a queue, None if there is none of that name."""
        return self._entries.get(name)

    def remove(self, name: str) -> None:
        """Strike a queue off."""
        del self._entries[name]

    def live(self) -> list[Entry]:
        """Return the queues whose owners take requests."""
        return [entry for entry in self if entry.ready is not None]

    def due(self, now: float) -> list[Entry]:
        """Return the queues whose owners are to be started now, the dead letter first: the others forward to it."""
        missing = [entry for entry in self if entry.child is None and entry.not_before <= now]
        return sorted(missing, key=lambda entry: entry.name != DEAD_LETTER)

    def next_start(self, now: float) -> float:
        """Return when `due` may name somebody (more)."""
        return min((max(entry.not_before, now) for entry in self if entry.child is None), default=float("inf"))


def bring_in(store: Store, configured: Mapping[str, QueueSettings], now: int) -> list[QueueRow]:
    """Make the configuration's queues known to the store and return all queues.

    A section that somebody has edited since the last start wins over changes at run time; one that is as it was leaves
    them alone.
    """
    rows = {row.name: row for row in store.queues()}
    wanted = {DEAD_LETTER: QueueSettings(concurrency=0), **configured}
    for name, settings in wanted.items():
        row = rows.get(name)
        if row is None or not _says(row.configured, settings):
            known = settings if row is None else taught(settings, row)
            store.put_queue(name, known.model_dump_json(), settings.model_dump_json(), now)
    return store.queues()


def taught(settings: QueueSettings, before: QueueRow) -> QueueSettings:
    """Return new settings of a queue with what its workers had said before of handlers that stay."""
    try:
        return settings.taught_by(QueueSettings.model_validate_json(before.settings))
    except ValueError:  # written by another version
        return settings


def _says(configured: str, settings: QueueSettings) -> bool:
    """Tell whether the section last seen means these settings: an option that is new since then is not an edit."""
    try:
        return QueueSettings.model_validate_json(configured) == settings
    except ValueError:
        return False


def is_empty(store: Store, queue: str) -> bool:
    """Tell whether a queue has nothing unfinished and nothing dead."""
    return not any(count for state, count in store.counts().get(queue, {}).items() if state not in _HISTORY)

"""The Registry's roll of queues: who is up, who is down and why, and when to try again."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from thespian.actors import ActorAddress

from callboard.actors.children import Child
from callboard.actors.errors import QueueBeingDeleted
from callboard.actors.messages import DeleteQueue, QueueReady
from callboard.actors.store import QueueRow, Store
from callboard.actors.task import ENDED_STATES, TaskState
from callboard.conf.settings import DEAD_LETTER, QueueSettings
from callboard.conf.templates import QueueTemplate, template_of

_WAITS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the next start, by how many have failed in a row."""
_LONGEST_ONCE_UP = 1.0
"""Seconds that one waits at most that had come up: it can start, and somebody waits for its tasks."""
_HEALTHY_SECONDS = 5.0
NO_TEMPLATES: Final[Mapping[str, QueueTemplate]] = MappingProxyType({})


@dataclass(slots=True)
class Sleep:
    """Why a queue that sleeps is to be woken. due_at: its next task is due then, in microseconds of the wall clock.

    errand_at: old tasks are to be removed then, in monotonic seconds (infinity: it has none).
    """

    due_at: int | None = None
    errand_at: float = float("inf")

    def note(self, due_at: int) -> None:
        """Take note of a task that is due then."""
        self.due_at = due_at if self.due_at is None else min(self.due_at, due_at)


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
    """Who has its owner ended to delete it."""
    deletions_after: list[tuple[ActorAddress, DeleteQueue]] = field(default_factory=list)
    """Who has asked for the same meanwhile."""
    failures: int = 0
    not_before: float = 0.0
    sleep: Sleep | None = None
    """It has nothing to do, and no process; None: it has one, or is to get one."""
    letting_go: bool = False
    """Its process is being ended, for it had nothing to do."""
    waking: bool = False
    """It slept and is being started."""
    waiting: list[tuple[ActorAddress, str]] = field(default_factory=list)
    """Who has asked for it while it was being woken: sender and request id."""
    staffed: bool = True
    """It gets all its workers when it starts, not only when there is work for them."""
    errand: bool = False
    """It is woken only to remove old tasks."""
    put: tuple[QueueSettings, int] | None = None
    """Settings that were stored while it was not up, and their version: it may have read the ones before."""

    def fall_asleep(self, sleep: Sleep) -> None:
        """Note that its owner has nothing to do and is being ended."""
        self.sleep, self.letting_go = sleep, True
        self.ready = self.address = self.pinged = None

    @property
    def is_decided(self) -> bool:
        """Whether its first start has led to anything: an owner here or elsewhere, or a failure."""
        return bool(self.ready or self.standby or self.down or self.failures)

    def stands_by(self, holder: str) -> None:
        """Note that another server owns it."""
        self.standby, self.waking, self.errand = holder, False, False

    def wake(self, *, errand: bool = False) -> None:
        """Have its owner started again; nothing to be done for one that does not sleep."""
        if self.sleep is not None:
            self.sleep, self.waking, self.staffed, self.errand = None, True, False, errand
            self.not_before = 0.0

    def let_go(self) -> None:
        """Note that the owner which had nothing to do has ended."""
        self.child, self.letting_go = None, False

    def came_up(self, ready: QueueReady, address: ActorAddress) -> None:
        """Note that its owner takes requests."""
        self.ready, self.address, self.down, self.pinged = ready, address, "", None
        self.standby = ""
        self.waking = self.errand = False

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
        had_come_up = self.ready is not None
        if had_come_up and uptime > _HEALTHY_SECONDS:
            self.failures = 0
        wait = _WAITS[min(self.failures, len(_WAITS) - 1)]
        self.child = self.ready = self.address = self.pinged = None
        self.standby = ""
        self.waking = self.errand = False
        self.not_before = now + (min(wait, _LONGEST_ONCE_UP) if had_come_up else wait)
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

    def sleeping(self) -> list[tuple[Entry, Sleep]]:
        """Return the queues that have nothing to do."""
        return [(entry, entry.sleep) for entry in self._entries.values() if entry.sleep is not None]

    def errands(self) -> int:
        """Count the queues that are being started only to remove old tasks."""
        return sum(entry.errand for entry in self._entries.values())

    def due(self, now: float) -> list[Entry]:
        """Return the queues whose owners are to be started now.

        The dead letter first: the others forward to it. Then those that somebody waits for.
        """
        missing = [entry for entry in self if entry.child is None and entry.sleep is None and entry.not_before <= now]
        return sorted(missing, key=lambda entry: (entry.name != DEAD_LETTER, not entry.waiting, entry.errand))

    def next_start(self, now: float) -> float:
        """Return when `due` may name somebody (more)."""
        missing = (entry for entry in self if entry.child is None and entry.sleep is None)
        return min((max(entry.not_before, now) for entry in missing), default=float("inf"))


def bring_in(
    store: Store, configured: Mapping[str, QueueSettings], now: int, templates: Mapping[str, QueueTemplate] = NO_TEMPLATES
) -> list[QueueRow]:
    """Make the configuration's queues known to the store and return all queues.

    A section that somebody has edited since the last start wins over changes at run time; one that is as it was leaves
    them alone. A template is such a section for the queues that were made from it.
    """
    rows = {row.name: row for row in store.queues()}
    wanted = {DEAD_LETTER: QueueSettings(concurrency=0, idle_after="never"), **configured}
    made = {row.name: template_of(row.name, templates) for row in rows.values() if row.configured}
    wanted = {name: template.queue_settings() for name, template in made.items() if template is not None} | wanted
    for name, settings in wanted.items():
        row = rows.get(name)
        if row is None or not _says(row.configured, settings):
            known = settings if row is None else taught(settings, row)
            # One whose name is not free yet is left out: it is asked for again.
            with suppress(QueueBeingDeleted):
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
    if configured == settings.model_dump_json():
        return True
    try:
        return QueueSettings.model_validate_json(configured) == settings
    except ValueError:
        return False


def has_history(counts: Mapping[TaskState, int]) -> bool:
    """Tell whether there are ended tasks, which a queue's retention may remove one day."""
    return any(counts.get(state, 0) for state in ENDED_STATES)


def sleep_at_start(row: QueueRow, due_at: int | None, counts: Mapping[TaskState, int], errand_at: float) -> Sleep | None:
    """Return the sleep in which a queue that nobody has configured begins; None: it has something to do now.

    due_at: as the store's agenda has it. errand_at: when it would be woken to remove old tasks.
    """
    if due_at == 0 and (not row.paused or counts.get(TaskState.EXECUTING, 0)):
        return None
    return Sleep(due_at or None, errand_at if has_history(counts) else float("inf"))


def is_needed(row: QueueRow, counts: Mapping[TaskState, int]) -> bool:
    """Tell whether a queue whose agenda says "at once" needs an owner; if not, its tasks wait for somebody, not for it."""
    settings = QueueSettings.model_validate_json(row.settings)
    may_run = not row.paused and settings.concurrency > 0 and bool(settings.handlers)
    return may_run or counts.get(TaskState.EXECUTING, 0) > 0

"""The part of the Registry that lets queues sleep and starts them again: a known queue that is idle costs no process.

A queue with nothing to do says so (`QueueAsleep`), takes no requests any more and is ended. It is started again for the
first request to it, for its next due task, and now and then to remove old tasks. Nothing depends on a message: whoever
asked a queue that has just gone to sleep looks it up again, and what is due is looked for in the store once a minute.

Where several servers share a store, the one that owns the dead letter, which never sleeps, wakes what sleeps. The others
leave it alone, as they leave alone what that server has awake.
"""

import difflib
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

from thespian.actors import ActorAddress

from callboard.actors.base import CallboardActor, handles
from callboard.actors.dead_letter import NAME as DEAD_LETTER
from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import (
    FindQueue,
    QueueAsleep,
    QueueFound,
    RefusalReason,
    Refused,
    StartRegistry,
    TaskMoved,
)
from callboard.actors.roll import Entry, Roll, Sleep, has_history, is_needed, sleep_at_start
from callboard.actors.store import QueueRow, Store
from callboard.actors.store.opening import microseconds, open_store
from callboard.actors.store_visits import StoreVisits
from callboard.actors.task import TaskState
from callboard.conf.templates import is_made_on_use

RESCAN_SECONDS: Final = 60.0
ERRAND_SECONDS: Final = 24 * 3600.0
"""So often a queue that sleeps is woken to remove what its retention does not keep."""
FIRST_ERRANDS_SECONDS: Final = 3600.0
"""After a start the first errands are spread over so long."""
ERRANDS_AT_ONCE: Final = 2

log = logging.getLogger(__name__)


class Wakes(CallboardActor):
    """Answers where queues are, waking them where it must; `RegistryActor` is the whole."""

    start_message: StartRegistry
    stopping = False

    def __init__(self) -> None:
        super().__init__()
        self.roll = Roll()
        self.visits = StoreVisits()
        self._next_rescan = float("inf")

    def opened_store(self) -> AbstractContextManager[Store]:
        """Hand out the store for a block. While it does not answer, the Registry must still answer its pings."""
        return self.visits.opened(lambda: open_store(self.start_message.store_url))

    @handles(FindQueue)
    def find(self, message: FindQueue, sender: ActorAddress) -> None:
        """Answer where a queue's owner is; of one that sleeps, when it has been started."""
        entry = self.roll.get(message.queue)
        if entry is None:
            self.send(sender, self.unknown(message.request_id, message.queue))
        elif why := self.elsewhere(entry, looking=not message.wake):
            self.send(sender, Refused(message.request_id, RefusalReason.STANDBY, why))
        elif entry.sleep is not None and (self.stopping or not message.wake):
            reason = RefusalReason.SHUTTING_DOWN if self.stopping else RefusalReason.IDLE
            self.send(sender, Refused(message.request_id, reason, f"queue {message.queue!r} is {reason.replace('_', ' ')}"))
        elif entry.deletion is None and message.wake and (entry.sleep is not None or entry.waking):
            entry.wake()
            entry.waiting.append((sender, message.request_id))
            self.go_on()
        elif entry.ready is None or entry.child is None or entry.child.ident is None or entry.deletion is not None:
            self.send(sender, _starting(message.request_id, entry))
        else:
            self.send(sender, _found(message.request_id, entry))

    @handles(QueueAsleep)
    def queue_asleep(self, message: QueueAsleep, sender: ActorAddress) -> None:
        """End a queue that has nothing to do, unless it does not know yet of settings that may change that."""
        child, entry = self.child_at(sender), self.roll.get(message.queue)
        if child is None or entry is None or entry.child is not child or entry.ready is None or self.stopping:
            return
        outdated = entry.ready.settings_version != message.settings_version
        errand_at = time.monotonic() + ERRAND_SECONDS if message.history else float("inf")
        entry.fall_asleep(Sleep(message.due_at, errand_at))
        if outdated:
            entry.wake()
        self.kill_child(child)
        self.expect_rescan()
        self.go_on()

    @handles(TaskMoved)
    def task_moved(self, message: TaskMoved, _sender: ActorAddress) -> None:
        """Have a queue look for a task that was moved to it."""
        entry = self.roll.get(message.queue)
        if entry is None:
            return
        if entry.sleep is not None:
            entry.sleep.note(message.run_at)
            self.go_on()
        elif entry.ready is not None:
            self.send(entry.address, message)

    def answer_waiting(self, entry: Entry) -> None:
        """Answer those who wait for a queue: it has come up, or could not."""
        waiting, entry.waiting = entry.waiting, []
        for sender, request_id in waiting:
            up = entry.ready is not None and entry.child is not None and entry.child.ident is not None
            if why := self.elsewhere(entry):
                self.send(sender, Refused(request_id, RefusalReason.STANDBY, why))
            else:
                self.send(sender, _found(request_id, entry) if up else _starting(request_id, entry))

    @property
    def deputy(self) -> str:
        """Who owns the dead letter instead of this server, and so wakes what sleeps; "" if it is this one."""
        dead_letter = self.roll.get(DEAD_LETTER)
        return "" if dead_letter is None else dead_letter.standby

    def elsewhere(self, entry: Entry, *, looking: bool = False) -> str:
        """Say why another server is to be asked about this queue, "" if none is; one that sleeps anybody may look at."""
        if entry.standby:
            return entry.why_not
        if entry.sleep is None or looking or not self.deputy:
            return ""
        return f"queue {entry.name!r} sleeps, and another server wakes it ({self.deputy}); this one does when that is gone"

    def take_up(
        self,
        rows: Sequence[QueueRow],
        agenda: Mapping[str, int],
        counts: Mapping[str, Mapping[TaskState, int]],
        awake: Collection[str] = (),
    ) -> None:
        """Take up those of these queues that are not known yet. What has nothing to do sleeps, but for these names."""
        now = time.monotonic()
        for number, row in enumerate(rows):
            if self.roll.get(row.name) is not None:
                continue
            entry = self.roll.add(row.name)
            if row.name != DEAD_LETTER and row.name not in awake:
                entry.staffed = False
                errand_at = now + FIRST_ERRANDS_SECONDS * (number + 1) / len(rows)
                entry.sleep = sleep_at_start(row, agenda.get(row.name), counts.get(row.name, {}), errand_at)

    def wake_due(self, now: float) -> None:
        """Wake those that have something to do now; called after every message."""
        if self.deputy:
            return
        if now >= self._rescan_at:
            self._next_rescan = now + RESCAN_SECONDS
            self._rescan()
        sleeping = self.roll.sleeping()
        wall = microseconds()
        errands = self.roll.errands()
        for entry, sleep in sleeping:
            if sleep.due_at is not None and sleep.due_at <= wall:
                entry.wake()
            elif sleep.errand_at <= now and errands < ERRANDS_AT_ONCE:
                errands += 1
                entry.wake(errand=True)

    def next_wake(self, now: float) -> float:
        """Return when `wake_due` should be called next, in monotonic seconds."""
        if self.deputy:
            return float("inf")
        sleeping = self.roll.sleeping()
        wall = microseconds()
        room = self.roll.errands() < ERRANDS_AT_ONCE
        moments = [now + (sleep.due_at - wall) / 1e6 for _, sleep in sleeping if sleep.due_at is not None]
        moments += [sleep.errand_at for _, sleep in sleeping if room]
        return min([self._rescan_at, *moments])

    @property
    def _rescan_at(self) -> float:
        # What is refused unasked would wait for the next minute.
        return max(self._next_rescan, self.visits.not_before)

    def expect_rescan(self, seconds: float = RESCAN_SECONDS) -> None:
        """See to it that the store is asked within so long what is due."""
        self._next_rescan = min(self._next_rescan, time.monotonic() + seconds)

    def _rescan(self) -> None:
        """Learn of due tasks that no message told of, and of what another server has made or left behind."""
        try:
            with self.opened_store() as store:
                rows, agenda, counts = store.queues(), store.agenda(), store.counts()
        except StoreUnavailable as error:
            log.warning("what sleeping queues have to do can't be read: %s", error)
            return
        self.take_up(rows, agenda, counts)
        for row in rows:
            entry, due_at, tasks = self.roll.get(row.name), agenda.get(row.name), counts.get(row.name, {})
            if entry is None or entry.sleep is None:
                continue
            if entry.sleep.errand_at == float("inf") and has_history(tasks):
                # It was empty when it went to sleep here; its tasks have ended on another server.
                entry.sleep.errand_at = time.monotonic() + FIRST_ERRANDS_SECONDS
            if due_at:
                entry.sleep.note(due_at)
            elif due_at == 0 and is_needed(row, tasks):
                # Another server had it awake, and is gone.
                entry.wake()

    def unknown(self, request_id: str, queue: str) -> Refused:
        """Say that there is no such queue, and which one was probably meant."""
        # Of a thousand queues for events all are near one more, and to find that out would hold up the Registry.
        names = [] if is_made_on_use(queue) else [entry.name for entry in self.roll]
        near = difflib.get_close_matches(queue, names, 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        return Refused(request_id, RefusalReason.UNKNOWN_QUEUE, f"unknown queue {queue!r}{hint}")

    def go_on(self) -> None:
        """Start what is to be started and ping what is alive."""
        raise NotImplementedError


def _starting(request_id: str, entry: Entry) -> Refused:
    detail = f"queue {entry.name!r} is starting" + (f": {entry.down}" if entry.down else "")
    return Refused(request_id, RefusalReason.STARTING, detail)


def _found(request_id: str, entry: Entry) -> QueueFound:
    assert entry.ready is not None
    assert entry.child is not None
    assert entry.child.ident is not None
    return QueueFound(
        request_id,
        entry.name,
        entry.address,
        entry.ready.pid,
        entry.child.ident.started,
        entry.ready.incarnation,
        entry.ready.settings,
        entry.ready.settings_version,
    )

"""Which workers a queue should have, and when the missing ones may be started.

What can't come up is tried again with backoff and reported as the queue's trouble: never a spin.
"""

import logging
from collections.abc import Iterable

from callboard.actors import processes
from callboard.actors.crew import Doom, Moment, Slot, SlotState
from callboard.actors.messages import StartQueue, StartWorker
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.worker_files import OwnersEnds, QueueFolder, WorkerFiles
from callboard.conf.settings import QueueSettings

AT_ONCE = 4
"""A fork takes some ten milliseconds; between these few the queue looks at its messages."""
ALONE_AT_ONCE = 4
"""So many suspects of a crash are run at the same time, each in a process of its own beside the usual ones."""
_WAITS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the next try, by how many starts have failed in a row."""
PROVEN_SECONDS = 5.0
"""A worker that has lived for so long, or has begun a task, could start; one that dies before has failed to."""
_REPLACED_WHEN_CHANGED = ("worker", "types", "strict", "max_memory", "slots", "command")

log = logging.getLogger(__name__)


class Hiring:
    """Decides about the workers of one owner; the actor forks and kills."""

    def __init__(self, owner: QueueOwner, folder: QueueFolder, start: StartQueue) -> None:
        self._owner = owner
        self._folder = folder
        self._start = start
        self._made = 0
        self._failures = 0
        self._not_before = 0.0
        self._series = 0
        """So many failures have been counted ever. What was started before one of them is neither another one nor a cure."""
        self._read: list[WorkerFiles] = []
        """Files of dead workers, whose contents may not be stored yet."""
        self.trouble = ""
        """Why workers can't start, "" if they can."""
        self._logged = ""
        """The last such reason that was logged, until a worker has proven itself: each try may have the same one again."""
        self.dismissed = start.errand
        """The queue has nothing to do and goes to sleep: it wants no workers."""
        self._needed: int | None = None if start.staffed else 0
        """So many tasks there were at once since the start; None: all workers are wanted, whether there is work or not."""

    @property
    def start_timeout(self) -> float:
        """Seconds that a worker may take until it is ready."""
        return self._owner.settings.start_timeout_ms / 1_000

    def due(self, now: Moment) -> list[str]:
        """Name the workers that are to be started now; those that are too many are let go. Called after each turn."""
        self._clear_away()
        self._forgive(self._owner.crew.slots.values(), now)
        missing = 0
        for alone in (False, True):
            lacking = self._wanted(alone=alone) - len(self._staff(alone=alone))
            if lacking < 0:
                self._let_go(-lacking, alone=alone)
            missing += max(lacking, 0)
        if missing <= 0 or now.mono < self._not_before or self._trying():
            return []
        first = self._made + 1
        # A start that has failed before is tried with one worker, not with all: the next waits for what becomes of it.
        self._made += 1 if self._failures else min(missing, AT_ONCE)
        return [f"w{self._owner.incarnation}-{number}" for number in range(first, self._made + 1)]

    def next_look(self, now: Moment) -> float:
        """Return when `due` may name somebody, in monotonic seconds."""
        if all(self._wanted(alone=alone) <= len(self._staff(alone=alone)) for alone in (False, True)):
            return float("inf")
        if self._trying():
            return float("inf")  # it will be ready, or die, at the latest of its start_timeout
        return max(now.mono, self._not_before)

    def prepare(self, name: str, now: Moment) -> OwnersEnds | None:
        """Make the files of a worker that is to be forked; None: they can't be made, so there is nothing to fork."""
        try:
            return self._folder.create(name, shared=self._owner.settings.slots > 1)
        except OSError as error:
            self.failed(f"their files can't be made: {error.strerror}")
            self._put_off(now)
            return None

    def not_forked(self, name: str, ends: OwnersEnds, error: Exception, now: Moment) -> None:
        """Take note that a worker whose files were made has no process."""
        ends.close()
        self._folder.files(name).remove()
        # Not in the error's own words: they name the worker, and each try would be a new reason.
        why = error.strerror if isinstance(error, OSError) else type(error).__name__
        self.failed(f"no process can be made for them: {why}")
        self._put_off(now)

    def hire(self, name: str, pid: int, ends: OwnersEnds) -> StartWorker:
        """Take in a worker whose process has just been forked, and make its first message."""
        slots = self._owner.settings.slots
        alone = slots > 1 and len(self._staff()) >= self._wanted()
        capacity = 1 if alone else slots
        files, start, owner = self._folder.files(name), self._start, self._owner
        slot = Slot(name, pid, *ends, shared=slots > 1, capacity=capacity, alone=alone, logs=files.logs, series=self._series)
        owner.hired(slot)
        return StartWorker(
            worker=name,
            queue=owner.queue,
            incarnation=owner.incarnation,
            boot_id=start.boot_id,
            settings=owner.settings,
            tokens=str(files.tokens),
            journal=str(files.journal),
            data_dir=start.data_dir,
            store_url=start.store_url,
            samples=start.samples,
            log_level=start.log_level,
            log_format=start.log_format,
        )

    @property
    def must_learn(self) -> bool:
        """Whether a worker is on its way that will say what is not known yet of its tasks."""
        owner = self._owner
        return bool(self._wanted()) and owner.settings.unlearned and not self._failures and not self.trouble

    def ready(self, worker: str, address: object, now: Moment) -> None:
        """Take note of a worker that can run tasks."""
        slot = self._owner.crew.slots.get(worker)
        if slot is not None and slot.state is SlotState.STARTING:
            slot.state, slot.address, slot.ready_at = SlotState.IDLE, address, now.mono
            self.trouble = ""

    def failed(self, reason: str) -> None:
        """Take note of why a worker can't start, and log it if it is news; its death is told by `gone`."""
        trouble = f"workers can't start: {reason}"
        if trouble != self._logged:
            log.error("queue %s: %s", self._owner.queue, trouble)
        self.trouble = self._logged = trouble

    def gone(self, worker: str, exitcode: int | None, now: Moment) -> None:
        """Account for a worker that has died, and see to its successor."""
        files = self._folder.files(worker)
        exit_name = processes.exit_name(exitcode) if exitcode is not None else None
        slot = self._owner.gone(worker, exit_name, files.read_trace(), now)
        if slot is None:
            return
        slot.tokens.close()
        slot.journal.close()
        self._read.append(files)
        self._forgive([slot], now)
        wanted = slot.doom is None and not slot.retiring and not self._owner.stopping
        if wanted and slot.series == self._series and not _has_proven_itself(slot, now):
            self._put_off(now)
            if self._failures > 1 and not self.trouble:
                when = "at once" if slot.ready_at is None else "as soon as they are ready"
                self.failed(f"they die {when} (exit {exit_name})")

    def _put_off(self, now: Moment) -> None:
        """Have the next start wait, the longer the more have failed in a row."""
        self._not_before = now.mono + _WAITS[min(self._failures, len(_WAITS) - 1)]
        self._failures += 1
        self._series += 1

    def _trying(self) -> bool:
        """Return whether a start is under way on which it depends if there are more."""
        return self._failures > 0 and any(slot.state is SlotState.STARTING for slot in self._owner.crew.slots.values())

    def _forgive(self, slots: Iterable[Slot], now: Moment) -> None:
        """Forget the failures if one of these workers, started since the last of them, has shown that workers can start."""
        if self._failures and any(slot.series == self._series and _has_proven_itself(slot, now) for slot in slots):
            self._failures, self._logged = 0, ""

    def settings_changed(self, before: QueueSettings) -> None:
        """Go on with the owner's new settings: workers that were started with others of their own options are replaced."""
        settings = self._owner.settings
        if any(getattr(before, name) != getattr(settings, name) for name in _REPLACED_WHEN_CHANGED):
            for slot in self._owner.crew.slots.values():
                slot.retiring = True
            self._failures, self._not_before, self.trouble, self._logged = 0, 0.0, "", ""

    def _clear_away(self) -> None:
        """Delete the files of dead workers; until what they say is stored, a successor of this owner may need them."""
        if self._read and not self._owner.outcomes.facts.change:
            for files in self._read:
                files.remove()
            self._read = []

    def _wanted(self, *, alone: bool = False) -> int:
        """Return how many workers there should be; `alone`: for tasks that must have a process to themselves."""
        owner = self._owner
        if owner.stopping or self.dismissed or not owner.settings.handlers:
            return 0
        if alone:
            if owner.settings.slots == 1:
                return 0
            waiting = owner.window.alone + sum(slot.alone and slot.batch is not None for slot in owner.crew.slots.values())
            return min(waiting, owner.settings.concurrency, ALONE_AT_ONCE)
        tasks = owner.settings.concurrency
        if self._needed is not None:
            self._needed = max(self._needed, owner.crew.running() + len(owner.window))
            tasks = min(tasks, self._needed)
        return -(-tasks // owner.settings.slots)

    def _staff(self, *, alone: bool = False) -> list[Slot]:
        """Return the workers that count; those without a future are let go when they have nothing to do."""
        staff = []
        for slot in list(self._owner.crew.slots.values()):
            if slot.retiring and slot.state in {SlotState.IDLE, SlotState.STARTING} and not self._owner.stopping:
                self._owner.doom(slot, Doom.INTERRUPT)
            elif not slot.retiring and slot.state is not SlotState.DYING and slot.alone is alone:
                staff.append(slot)
        return staff

    def _let_go(self, count: int, *, alone: bool) -> None:
        staff = sorted(self._staff(alone=alone), key=lambda slot: slot.state is SlotState.BUSY)
        for slot in staff[:count]:
            slot.retiring = True
        self._staff()


def _has_proven_itself(slot: Slot, now: Moment) -> bool:
    """Return whether a worker could start, whatever became of it afterwards."""
    return slot.worked or (slot.ready_at is not None and now.mono - slot.ready_at >= PROVEN_SECONDS)

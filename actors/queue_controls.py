"""What a Queue actor answers about the queue as a whole: pause, resume, drain, scale, settings, description."""

import os
import time
from typing import Any

from thespian.actors import ActorAddress

from callboard.actors.always_there import DRAINED, PAUSED, RESUMED, SCALED, why_never
from callboard.actors.base import CallboardActor, handles
from callboard.actors.crew import Moment
from callboard.actors.describing import describe
from callboard.actors.errors import StoreUnavailable
from callboard.actors.hiring import Hiring
from callboard.actors.messages import (
    ApplySettings,
    DescribeQueue,
    DrainQueue,
    PauseQueue,
    QueueDescribed,
    QueueReady,
    RefusalReason,
    Refused,
    ResumeQueue,
    ScaleQueue,
    SettingsChanged,
    TaskMoved,
    WorkerReady,
)
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.sleeping import Sleeping

LEARN_SECONDS = 5.0
"""So long a queue that is new waits for its first worker to say what its handlers say of their tasks."""


class QueueControls(CallboardActor):
    """The half of a Queue actor that people turn the knobs of; `QueueActor` is the whole."""

    owner: QueueOwner | None = None
    """None until the queue is owned."""
    hiring: Hiring
    sleeping: Sleeping
    registry: ActorAddress
    announce_by: float | None = None
    """When the Registry is told at the latest that the queue takes tasks; None once it has been."""

    @handles(PauseQueue)
    def pause(self, message: PauseQueue, sender: ActorAddress) -> None:
        """Begin nothing more until resumed."""
        if (owner := self.commanded(message, sender, PAUSED)) is not None:
            owner.set_paused(read_clocks(), paused=True)
            self.answer_described(message.request_id, sender)

    @handles(ResumeQueue)
    def resume(self, message: ResumeQueue, sender: ActorAddress) -> None:
        """End a pause or a drain."""
        if (owner := self.commanded(message, sender, RESUMED)) is not None:
            owner.set_paused(read_clocks(), paused=False)
            owner.draining = False
            self.answer_described(message.request_id, sender)

    @handles(DrainQueue)
    def drain(self, message: DrainQueue, sender: ActorAddress) -> None:
        """Accept nothing more, work off what is there."""
        if (owner := self.commanded(message, sender, DRAINED)) is not None:
            owner.draining = True
            self.answer_described(message.request_id, sender)

    @handles(ScaleQueue)
    def scale(self, message: ScaleQueue, sender: ActorAddress) -> None:
        """Change the concurrency, now and after a restart."""
        if (owner := self.commanded(message, sender, SCALED)) is not None:
            before = owner.settings
            owner.scale(message.concurrency)
            self.hiring.settings_changed(before)
            changed = SettingsChanged(message.queue, owner.settings, owner.settings_version)
            self.send(self.registry, changed)
            self.answer_described(message.request_id, sender)

    @handles(ApplySettings)
    def apply_settings(self, message: ApplySettings, _sender: ActorAddress) -> None:
        """Go on with settings that the Registry has stored; workers with the old ones are replaced."""
        owner = self.owner
        # What the owner has stored itself meanwhile was made from these.
        if owner is not None and message.settings_version >= owner.settings_version:
            before = owner.settings
            owner.settings, owner.settings_version = message.settings, message.settings_version
            self.hiring.settings_changed(before)
            self.go_on(read_clocks())

    @handles(TaskMoved)
    def task_moved(self, message: TaskMoved, _sender: ActorAddress) -> None:
        """Look for a task that was moved here, now or when it is due."""
        if (owner := self.owner) is not None:
            owner.places.note(message.run_at)
            self.go_on(read_clocks())

    @handles(DescribeQueue)
    def describe(self, message: DescribeQueue, sender: ActorAddress) -> None:
        """Answer everything about this queue."""
        if self.addressed(message, sender) is not None:
            self.answer_described(message.request_id, sender)

    def learn(self, message: WorkerReady) -> None:
        """Take note of what a worker's handlers say of their tasks."""
        owner = self.owner
        assert owner is not None
        slot = owner.crew.slots.get(message.worker)
        if slot is None or slot.retiring:
            return
        before = owner.settings
        try:
            news = owner.learn(message.learned)
        except StoreUnavailable:
            return  # the next worker will say it, too
        self.hiring.settings_changed(before)
        if news and self.announce_by is None:
            self.send(self.registry, SettingsChanged(owner.queue, owner.settings, owner.settings_version))

    def announce(self, now: Moment) -> None:
        """Tell the Registry that the queue takes tasks, once it is known what its handlers say of them.

        That is waited for where no worker has ever said it, and not for long. From then on it is in the queue's settings.
        """
        owner = self.owner
        if owner is None or self.announce_by is None:
            return
        if self.hiring.must_learn and now.mono < self.announce_by:
            self.wake_at(self.announce_by)
            return
        self.announce_by = None
        ready = QueueReady(owner.queue, os.getpid(), owner.incarnation, owner.settings, owner.settings_version)
        self.send(self.registry, ready)

    def addressed(self, message: Any, sender: ActorAddress) -> QueueOwner | None:
        """Return the owner if the message is meant for it; refuse it otherwise."""
        owner = self.owner
        to_us = owner is not None and (message.queue, message.incarnation) == (owner.queue, owner.incarnation)
        if owner is not None and to_us and not self.sleeping.asleep:
            if not owner.stopping:
                if not isinstance(message, DescribeQueue):  # who only looks at queues keeps none of them awake
                    self.sleeping.touch(read_clocks())
                return owner
            detail = "the server is shutting down"
            self.send(sender, Refused(message.request_id, RefusalReason.SHUTTING_DOWN, detail))
            return None
        self.send(sender, Refused(message.request_id, RefusalReason.STALE, "this is another queue's or owner's address"))
        return None

    def commanded(self, message: Any, sender: ActorAddress, done: str) -> QueueOwner | None:
        """Return the owner if the message is meant for it and its queue can be `done`; refuse it otherwise."""
        owner = self.addressed(message, sender)
        if owner is not None and (why := why_never(owner.queue, done)):
            self.send(sender, Refused(message.request_id, RefusalReason.INVALID, why))
            return None
        return owner

    def answer_described(self, request_id: str, sender: ActorAddress) -> None:
        """Answer how the queue is now."""
        owner = self.owner
        assert owner is not None
        now = read_clocks()
        self.go_on(now)
        self.send(sender, QueueDescribed(request_id, describe(owner, self.hiring, now, os.getpid())))

    def go_on(self, now: Moment) -> None:
        """Let the owner take its turn and do what it decides."""
        raise NotImplementedError


def read_clocks() -> Moment:
    """Read both clocks; once a message."""
    return Moment(time.time_ns() // 1_000, time.monotonic())

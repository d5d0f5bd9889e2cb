"""The Queue actor: a thin shell between messages and the owner of one queue.

Every handler reads the clock once, tells the owner what has come, lets it take its turn, and then performs what the
owner has decided (`perform`).
"""

import gc
import logging
import os
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest

from callboard.actors import processes
from callboard.actors.base import Child, handles
from callboard.actors.claim import LOOK_SECONDS, Claim
from callboard.actors.commands import Commands
from callboard.actors.crew import Moment
from callboard.actors.deaths import Deaths
from callboard.actors.errors import StaleChange, StoreUnavailable, Superseded
from callboard.actors.foreman import Kill
from callboard.actors.hiring import Hiring
from callboard.actors.housekeeping import Housekeeping
from callboard.actors.inheritance import close_inherited
from callboard.actors.messages import (
    DeadLetterAt,
    DeathsNoted,
    QueueGone,
    QueueNotReady,
    QueueStandsBy,
    QueueStopped,
    RefusalReason,
    Refused,
    Report,
    StartQueue,
    StopQueue,
    WorkerFailed,
    WorkerReady,
)
from callboard.actors.queue_controls import LEARN_SECONDS, read_clocks
from callboard.actors.queue_events import QueueEvents
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.queue_requests import QueueRequests
from callboard.actors.runtime import queue_folder
from callboard.actors.sleeping import Sleeping
from callboard.actors.stopping import Stopping
from callboard.actors.worker import WorkerActor
from callboard.actors.worker_files import QueueFolder
from callboard.conf.logging import configure_logging
from callboard.conf.settings import QueueSettings

log = logging.getLogger(__name__)


class QueueActor(QueueRequests, QueueEvents):
    """Owns one queue: the only writer of its tasks, the parent of its workers."""

    def __init__(self) -> None:
        super().__init__()
        # Whatever a worker's task has started and detached comes here when the worker dies, to be ended.
        processes.become_subreaper()
        # Thousands of tasks a second come and go without making a cycle: looking for one every 700 objects costs 7 %.
        gc.set_threshold(50_000, 20, 100)
        self._claim: Claim
        self._told_to_stop = False
        self._deaths = Deaths()

    # ------------------------------------------------------------ life

    @handles(StartQueue)
    def start(self, message: StartQueue, sender: ActorAddress) -> None:
        """Own the queue; when that can't be, say why and end."""
        configure_logging(message.log_level, message.log_format)
        close_inherited(Path(message.data_dir))
        self._start, self.registry = message, sender
        self._claim = Claim(message.store_url, message.queue)
        self._come_up()

    def _come_up(self) -> None:
        """Own the queue, or stand by for it and look again; when neither can be, say why and end."""
        if self._told_to_stop:
            return
        message, now = self._start, read_clocks()
        holder = self._claim.holder
        try:
            if (owned := self._claim.take()) is None:
                if self._claim.holder != holder:
                    self.send(self.registry, QueueStandsBy(message.queue, self._claim.holder))
                self.wake_at(now.mono + LOOK_SECONDS)
                return
            if self._claim.holder:
                # It may only sleep, on the server that had it: without work it goes to sleep here at once.
                message = replace(message, errand=True)
            store, ownership = owned
            settings = QueueSettings.model_validate_json(ownership.settings)
            owner = QueueOwner(message.queue, store, ownership, settings, rng=random.Random(), now=now)  # noqa: S311 - jitter
            self.publish(owner, message.events, rested=message.rested)
            place = queue_folder(Path(message.data_dir), message.queue)
            folder = QueueFolder(place, message.boot_id, owner.incarnation)
            owner.recover(folder.left_behind(), now)
            folder.clear()
        except Exception as error:
            log.exception("queue %s can't start", message.queue)
            gone = isinstance(error, KeyError)
            reason = f"{type(error).__name__}: {error}"
            self.send(self.registry, QueueGone(message.queue) if gone else QueueNotReady(message.queue, reason))
            self.send(self.myAddress, ActorExitRequest())
            return
        self.owner = owner
        self.commands = Commands(owner)
        owner.on_stored = self.commands.stored
        self.hiring = Hiring(owner, folder, message)
        self._housekeeping = Housekeeping(owner, now)
        self._stopping = Stopping(owner)
        self.sleeping = Sleeping(
            owner, self.hiring, self._housekeeping, self.registry, now, errand=message.errand, untold=self.untold
        )
        self.announce_by = now.mono + LEARN_SECONDS
        self.go_on(now)

    @handles(StopQueue)
    def stop(self, message: StopQueue, sender: ActorAddress) -> None:
        """Hand out nothing more; what runs has the grace to end."""
        now = read_clocks()
        self._told_to_stop = True
        if self.owner is None:
            self.send(sender, QueueStopped(message.request_id, message.queue, 0))
            return
        self._stopping.begin(message, sender, now)
        self.go_on(now)

    def on_wakeup(self, now: float) -> None:  # noqa: ARG002 - both clocks are read together
        """Look at everything: due tasks, slow workers, timeouts, retention; or whether the queue may be taken over."""
        if self.owner is None and self._claim.holder:
            self._come_up()
        else:
            self.go_on(read_clocks())

    def handler_failed(self, message: Any, sender: ActorAddress, error: BaseException) -> None:
        """Refuse the request that could not be done; an owner that was replaced ends itself."""
        if isinstance(error, Superseded | StaleChange):
            # Replaced, or what it remembers is not what the store says: a successor starts from the store.
            os._exit(1)
        reason = RefusalReason.STORE_UNAVAILABLE if isinstance(error, StoreUnavailable) else RefusalReason.FAILED
        request_id = getattr(message, "request_id", None)
        if request_id is not None:
            self.send(sender, Refused(request_id, reason, str(error)))
        if self.owner is not None:
            self.wake_at(time.monotonic() + 0.1)

    # ------------------------------------------------------------ workers

    @handles(WorkerReady)
    def worker_ready(self, message: WorkerReady, sender: ActorAddress) -> None:
        """Give work to a worker that has come up."""
        child = self.child_at(sender)
        if child is not None and self.owner is not None:
            now = read_clocks()
            self.mark_ready(child)
            self.hiring.ready(message.worker, sender, now)
            self.learn(message)
            self.go_on(now)

    @handles(WorkerFailed)
    def worker_failed(self, message: WorkerFailed, _sender: ActorAddress) -> None:
        """Report why a worker can't start; its death follows and the next try waits."""
        self.hiring.failed(message.reason)

    @handles(Report)
    def report(self, message: Report, _sender: ActorAddress) -> None:
        """Read all journals: the bell of one worker serves for all."""
        if (owner := self.owner) is not None:
            now = read_clocks()
            if owner.reported(message.worker, message.number, now, spent=message.spent):
                self.go_on(now)

    def child_exited(self, child: Child, exitcode: int | None) -> None:
        """Account for what ran in a dead worker and replace it."""
        processes.end_orphans({child.pid for child in self.children})
        if self.owner is not None:
            now = read_clocks()
            self.hiring.gone(child.name, exitcode, now)
            self.go_on(now)

    def child_not_ready(self, child: Child) -> None:  # noqa: ARG002 - named, each try would be a new reason
        """Report a worker that took too long to start; it has been killed."""
        self.hiring.failed("they are not ready within the queue's start_timeout")

    def _start_workers(self, names: list[str], now: Moment) -> None:
        """Start these, each with its files first: a process without them is of no use, and each try would leave one."""
        for name in names:
            if (ends := self.hiring.prepare(name, now)) is None:
                return
            try:
                child = self.spawn(WorkerActor, name, ready_within=self.hiring.start_timeout)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try has to wait
                self.hiring.not_forked(name, ends, error, now)
                return
            self.send(child.address, self.hiring.hire(name, child.pid, ends))

    # ------------------------------------------------------------ the dead

    @handles(DeadLetterAt)
    def forward_dead_to(self, message: DeadLetterAt, _sender: ActorAddress) -> None:
        """Forward what dies to this DeadLetter, or to none."""
        self._deaths.dead_letter_at(message.address)
        self._forward_dead()

    @handles(DeathsNoted)
    def deaths_noted(self, message: DeathsNoted, _sender: ActorAddress) -> None:
        """Send the DeadLetter what has died meanwhile."""
        self._deaths.noted(message.number)
        self._forward_dead()

    def _forward_dead(self) -> None:
        if self.owner is not None and (news := self._deaths.tell(self.owner)) is not None:
            self.send(news.to, news.message)

    # ------------------------------------------------------------ after every message

    def go_on(self, now: Moment) -> None:
        """Let the owner take its turn and do what it decides."""
        if self.owner is not None:
            self.owner.turn(now)
            self._housekeeping.turn(now)
            self.perform(now)

    def perform(self, now: Moment) -> None:
        """Do what the owner has decided: send, kill, hire; then ask to be woken for the next thing."""
        owner = self.owner
        assert owner is not None
        self._stopping.turn(now)
        self.sleeping.turn(now)
        names = self.hiring.due(now)
        outbox, owner.outbox = owner.outbox, []
        for action in outbox:
            if isinstance(action, Kill):
                for child in self.children:
                    if child.name == action.worker:
                        self.kill_child(child)
            else:
                self.send(action.to, action.message)
        self._forward_dead()
        self.tell_events(owner, now)
        # Last, because a child that dies while its creator is still busy is noticed late.
        self._start_workers(names, now)
        self.announce(now)
        hire_next = self.hiring.next_look(now)
        others = min(self._housekeeping.next_look, self._stopping.next_look, self.sleeping.next_look, hire_next)
        self.wake_at(min(owner.next_look(now), others))

"""The Registry actor: maps queue names to Queue actors, creates, watches and restarts them."""

import logging
import os
import time
from contextlib import closing
from typing import Any

from thespian.actors import ActorAddress

from callboard.actors import processes
from callboard.actors.base import Child, handles
from callboard.actors.dead_letter import NAME as DEAD_LETTER
from callboard.actors.dead_letter import DeadLetterActor
from callboard.actors.errors import OwnedElsewhere, StoreUnavailable
from callboard.actors.messages import (
    ApplySettings,
    Ping,
    Pong,
    PublishEvents,
    QueueNotReady,
    QueueReady,
    QueueStopped,
    RefusalReason,
    Refused,
    RegistryReady,
    ShutDown,
    ShutDownDone,
    StartQueue,
    StartRegistry,
    StopQueue,
)
from callboard.actors.queue_actor import QueueActor
from callboard.actors.roll import Entry, bring_in
from callboard.actors.standing_by import StandingBy
from callboard.actors.store.opening import microseconds, open_store
from callboard.conf.logging import configure_logging
from callboard.conf.settings import Settings

PING_SECONDS = 2.0
SILENCE_SECONDS = 10.0
QUEUE_READY_SECONDS = 30.0
START_AT_ONCE = 4
_STOP_MARGIN_SECONDS = 2.0

log = logging.getLogger(__name__)


class RegistryActor(StandingBy):
    """One per server; the root of all other actors."""

    def __init__(self) -> None:
        super().__init__()
        # The workers of a killed Queue come here, to be ended before the Queue's successor reads their journals.
        processes.become_subreaper()
        self._ready_reply: tuple[ActorAddress, RegistryReady] | None = None
        self._stop_reply: tuple[ActorAddress, ShutDown] | None = None
        self._stop_by = float("inf")
        self._next_ping = 0.0

    # ------------------------------------------------------------ life

    @handles(StartRegistry)
    def start(self, message: StartRegistry, sender: ActorAddress) -> None:
        """Read the queues of the configuration and of the store, and start them all."""
        self.start_message = message
        settings = Settings.model_validate(message.settings)
        self._settings = settings
        configure_logging(settings.log.level, settings.log.format)
        with closing(open_store(message.store_url)) as store:
            rows = bring_in(store, settings.queues, microseconds(), settings.templates)
            agenda, counts = store.agenda(), store.counts()
        made = {row.name for row in rows}
        self.awaited = {name: queue for name, queue in settings.queues.items() if name not in made}
        self.take_up(rows, agenda, counts, awake=settings.queues)
        self.hold_back()
        self.expect_rescan()
        self._ready_reply = (sender, RegistryReady(message.request_id, os.getpid()))
        self.go_on()

    @handles(ShutDown)
    def shut_down(self, message: ShutDown, sender: ActorAddress) -> None:
        """Have all queues stop; answered when they have, or soon after the grace."""
        self._stop_reply = (sender, message)
        self.stopping = True
        self._stop_by = time.monotonic() + message.grace_seconds + _STOP_MARGIN_SECONDS
        for entry in self.roll:
            child = entry.child
            if child is not None and not entry.letting_go and entry.deletion is None:
                entry.stopping = True
                # Also one that is not up yet: it would begin tasks that have no grace to end.
                self.send(child.address, StopQueue(message.request_id, entry.name, message.grace_seconds))
        self.go_on()

    def on_wakeup(self, now: float) -> None:  # noqa: ARG002 - `_go_on` reads the clock
        """Start what is due, ping what is alive."""
        self.go_on()

    def handler_failed(self, message: Any, sender: ActorAddress, error: BaseException) -> None:
        """Refuse the request that could not be done."""
        request_id = getattr(message, "request_id", None)
        if request_id is not None:
            reason, detail = RefusalReason.FAILED, f"{type(error).__name__}: {error}"
            if isinstance(error, StoreUnavailable | OwnedElsewhere):
                standby = isinstance(error, OwnedElsewhere)
                reason, detail = RefusalReason.STANDBY if standby else RefusalReason.STORE_UNAVAILABLE, str(error)
            self.send(sender, Refused(request_id, reason, detail))

    # ------------------------------------------------------------ Queues

    @handles(QueueReady)
    def queue_ready(self, message: QueueReady, sender: ActorAddress) -> None:
        """Send requests there from now on."""
        child, entry = self.child_at(sender), self.roll.get(message.queue)
        if child is None or entry is None or entry.child is not child:
            return
        self.mark_ready(child)
        if entry.standby:
            log.warning("queue %s is taken over: %s had it before", entry.name, entry.standby)
            # Who takes over one of another server's queues takes over all of them, those that it has made as well.
            self.expect_rescan(0)
        entry.came_up(message, sender)
        if entry.put is not None and entry.put[1] > message.settings_version:
            # They were stored after it had read its own.
            self.send(sender, ApplySettings(entry.name, *entry.put))
            entry.have_settings(*entry.put)
        entry.put = None
        # What it was told at its start may have changed since.
        self.send(sender, PublishEvents(self.events_to))
        self.answer_waiting(entry)
        self.tell_of_dead_letter(entry)
        self.go_on()

    @handles(QueueNotReady)
    def queue_not_ready(self, message: QueueNotReady, _sender: ActorAddress) -> None:
        """Remember why a Queue can't own its tasks; it ends itself and is tried again."""
        entry = self.roll.get(message.queue)
        if entry is not None:
            entry.down = message.reason
            self.answer_waiting(entry)

    @handles(Pong)
    def pong(self, message: Pong, sender: ActorAddress) -> None:  # noqa: ARG002 - the sender says it all
        """Take note of a sign of life."""
        child = self.child_at(sender)
        if self.is_events(child):
            self.events_answered()
            return
        entry = self.roll.get(child.name) if child is not None else None
        if entry is not None:
            entry.pinged = None

    @handles(QueueStopped)
    def queue_stopped(self, message: QueueStopped, _sender: ActorAddress) -> None:
        """Count a queue that has stored everything."""
        entry = self.roll.get(message.queue)
        if entry is not None:
            entry.stopped, entry.interrupted = True, message.interrupted
        self.go_on()

    def child_exited(self, child: Child, exitcode: int | None) -> None:
        """Restart a dead Queue, once nothing of its workers is left."""
        processes.end_orphans({other.pid for other in self.children})
        if self.is_events(child):
            self.events_gone(exitcode)
            self.go_on()
            return
        entry = self.roll.get(child.name)
        if entry is None:
            self.remove_files(child.name)  # another server has deleted it
        if entry is None or entry.child is not child:
            return
        if entry.letting_go:
            entry.let_go()
            if entry.deletion is not None:
                self.delete(entry)
            self.go_on()
            return
        if entry.deletion is None and self._stop_reply is None:
            how = "ended" if exitcode is None else f"exited with {processes.exit_name(exitcode)}"
            log.warning("the owner of queue %s %s; it is restarted", child.name, how)
        entry.went_down(time.monotonic(), child.uptime(time.monotonic()))
        self.answer_waiting(entry)
        if entry.deletion is not None:
            self.delete(entry)
        self.go_on()

    # ------------------------------------------------------------ after every message

    def go_on(self) -> None:
        """Start what is to be started and ping what is alive; when stopping, wait for all to have stopped."""
        now = time.monotonic()
        self._ping(now)
        if self._stop_reply is not None:
            self._finish_stop(now)
            self.wake_at(min(self._stop_by, self._next_ping))
            return
        self.clear_deleted(now)
        if self._ready_reply is not None and all(e.ready or e.sleep or e.down or e.standby for e in self.roll):
            self.send(*self._ready_reply)
            self._ready_reply = None
        self.let_all_start()
        self.wake_due(now)
        due = self.roll.due(now)[:START_AT_ONCE]
        for entry in due:
            self._bring_up(entry)
        looks = (self.roll.next_start(now), self.next_wake(now), self.start_events(now), self.next_clearing)
        self.wake_at(min(self._next_ping, *looks))

    def _bring_up(self, entry: Entry) -> None:
        actor_class = DeadLetterActor if entry.name == DEAD_LETTER else QueueActor
        entry.child = self.spawn(actor_class, entry.name, ready_within=QUEUE_READY_SECONDS)
        start, settings = self.start_message, self._settings
        message = StartQueue(
            queue=entry.name,
            data_dir=start.data_dir,
            store_url=start.store_url,
            boot_id=start.boot_id,
            samples=settings.samples.model_dump(mode="json"),
            log_level=settings.log.level,
            log_format=settings.log.format,
            events=self.events_to,
            staffed=entry.staffed,
            # What sleeps on the server that wakes it is not to be kept awake here.
            errand=entry.errand or bool(self.deputy),
            rested=entry.waking,
        )
        self.send(entry.child.address, message)

    def _ping(self, now: float) -> None:
        if now < self._next_ping:
            return
        self._next_ping = now + PING_SECONDS
        self.ping_events(now, SILENCE_SECONDS)
        for entry in self.roll.live():
            if entry.pinged is None:
                entry.pinged = now
                self.send(entry.address, Ping(entry.name))
            elif now - entry.pinged > SILENCE_SECONDS and entry.child is not None:
                log.error("the owner of queue %s has not answered for %.0f s: it is replaced", entry.name, SILENCE_SECONDS)
                self.kill_child(entry.child)

    def _finish_stop(self, now: float) -> None:
        if self._stop_reply is None:
            return
        waiting = [entry for entry in self.roll if entry.stopping and not entry.stopped and entry.child is not None]
        if waiting and now < self._stop_by:
            return
        sender, message = self._stop_reply
        self.send(sender, ShutDownDone(message.request_id, sum(entry.interrupted for entry in self.roll)))
        self._stop_by = float("inf")

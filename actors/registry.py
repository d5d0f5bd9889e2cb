"""The Registry actor: maps queue names to Queue actors, creates, watches and restarts them.

It holds no connection to the store while it forks: an SQLite connection must not be carried into a child, not even
unused, for the library's own book of locks would be copied with it.
"""

import difflib
import logging
import os
import time
from contextlib import closing
from functools import partial
from typing import Any

from thespian.actors import ActorAddress

from callboard.actors import processes
from callboard.actors.base import CallboardActor, Child, handles
from callboard.actors.dead_letter import NAME as DEAD_LETTER
from callboard.actors.dead_letter import DeadLetterActor
from callboard.actors.messages import (
    ApplySettings,
    DeadLetterAt,
    DeleteQueue,
    FindQueue,
    ListQueues,
    Ping,
    Pong,
    PutQueue,
    QueueDeleted,
    QueueFound,
    QueueNotReady,
    QueuePut,
    QueueReady,
    QueuesListed,
    QueueStopped,
    RefusalReason,
    Refused,
    RegistryReady,
    SettingsChanged,
    ShutDown,
    ShutDownDone,
    StartQueue,
    StartRegistry,
    StopQueue,
)
from callboard.actors.queue_actor import QueueActor
from callboard.actors.roll import Entry, Roll, bring_in, is_empty
from callboard.actors.store.opening import open_store
from callboard.conf.logging import configure_logging
from callboard.conf.settings import Settings

PING_SECONDS = 2.0
SILENCE_SECONDS = 10.0
QUEUE_READY_SECONDS = 30.0
START_AT_ONCE = 4
_STOP_MARGIN_SECONDS = 2.0

log = logging.getLogger(__name__)


class RegistryActor(CallboardActor):
    """One per server; the root of all other actors."""

    def __init__(self) -> None:
        super().__init__()
        # The workers of a killed Queue come here, to be ended before the Queue's successor reads their journals.
        processes.become_subreaper()
        self._roll = Roll()
        self._ready_reply: tuple[ActorAddress, RegistryReady] | None = None
        self._stop_reply: tuple[ActorAddress, ShutDown] | None = None
        self._stop_by = float("inf")
        self._next_ping = 0.0

    # ------------------------------------------------------------ life

    @handles(StartRegistry)
    def start(self, message: StartRegistry, sender: ActorAddress) -> None:
        """Read the queues of the configuration and of the store, and start them all."""
        self._start = message
        settings = Settings.model_validate(message.settings)
        self._settings = settings
        configure_logging(settings.log.level, settings.log.format)
        with closing(open_store(message.store_url)) as store:
            for row in bring_in(store, settings.queues, _now_us()):
                self._roll.add(row.name)
        self._ready_reply = (sender, RegistryReady(message.request_id, os.getpid()))
        self._go_on()

    @handles(ShutDown)
    def shut_down(self, message: ShutDown, sender: ActorAddress) -> None:
        """Have all queues stop; answered when they have, or soon after the grace."""
        self._stop_reply = (sender, message)
        self._stop_by = time.monotonic() + message.grace_seconds + _STOP_MARGIN_SECONDS
        for entry in self._roll.live():
            entry.stopping = True
            self.send(entry.address, StopQueue(message.request_id, entry.name, message.grace_seconds))
        self._go_on()

    def on_wakeup(self, now: float) -> None:  # noqa: ARG002 - `_go_on` reads the clock
        """Start what is due, ping what is alive."""
        self._go_on()

    def handler_failed(self, message: Any, sender: ActorAddress, error: BaseException) -> None:
        """Refuse the request that could not be done."""
        request_id = getattr(message, "request_id", None)
        if request_id is not None:
            self.send(sender, Refused(request_id, RefusalReason.FAILED, f"{type(error).__name__}: {error}"))

    # ------------------------------------------------------------ look-ups and definitions

    @handles(FindQueue)
    def find(self, message: FindQueue, sender: ActorAddress) -> None:
        """Answer where a queue's owner is."""
        entry = self._roll.get(message.queue)
        if entry is None:
            self.send(sender, self._unknown(message.request_id, message.queue))
        elif entry.ready is None or entry.child is None or entry.child.ident is None or entry.deletion is not None:
            detail = f"queue {message.queue!r} is starting" + (f": {entry.down}" if entry.down else "")
            self.send(sender, Refused(message.request_id, RefusalReason.STARTING, detail))
        else:
            ready = entry.ready
            found = QueueFound(
                message.request_id,
                entry.name,
                entry.address,
                ready.pid,
                entry.child.ident.started,
                ready.incarnation,
                ready.settings,
                ready.settings_version,
            )
            self.send(sender, found)

    @handles(ListQueues)
    def list_queues(self, message: ListQueues, sender: ActorAddress) -> None:
        """Answer the names of all queues."""
        down = {entry.name: entry.down or "it is starting" for entry in self._roll if entry.ready is None}
        names = tuple(sorted(entry.name for entry in self._roll))
        self.send(sender, QueuesListed(message.request_id, names, down))

    @handles(PutQueue)
    def put_queue(self, message: PutQueue, sender: ActorAddress) -> None:
        """Create a queue, or give it new settings."""
        if message.queue == DEAD_LETTER:
            detail = "dead_letter is always there and takes no settings"
            self.send(sender, Refused(message.request_id, RefusalReason.INVALID, detail))
            return
        entry = self._roll.get(message.queue)
        with closing(open_store(self._start.store_url)) as store:
            before = next((row.configured for row in store.queues() if row.name == message.queue), "")
            row = store.put_queue(message.queue, message.settings.model_dump_json(), before, _now_us())
        if entry is None:
            self._roll.add(message.queue)
        elif entry.ready is not None:
            self.send(entry.address, ApplySettings(entry.name, message.settings, row.settings_version))
            self._have_settings(entry, message.settings, row.settings_version)
        self.send(sender, QueuePut(message.request_id, message.queue, entry is None))
        self._go_on()

    @handles(DeleteQueue)
    def delete_queue(self, message: DeleteQueue, sender: ActorAddress) -> None:
        """End the queue's owner; when it is gone, delete the queue if it is still empty (or forced)."""
        entry = self._roll.get(message.queue)
        if entry is None:
            self.send(sender, self._unknown(message.request_id, message.queue))
            return
        if message.queue == DEAD_LETTER:
            detail = "dead_letter is always there"
            self.send(sender, Refused(message.request_id, RefusalReason.INVALID, detail))
            return
        with closing(open_store(self._start.store_url)) as store:
            empty = is_empty(store, message.queue)
        if not empty and not message.force:
            self.send(sender, self._not_empty(message))
            return
        entry.deletion = (sender, message)
        if entry.child is not None:
            self.kill_child(entry.child)
        else:
            self._delete(entry)

    @handles(SettingsChanged)
    def settings_changed(self, message: SettingsChanged, _sender: ActorAddress) -> None:
        """Take note of settings that a Queue has changed itself."""
        entry = self._roll.get(message.queue)
        if entry is not None:
            self._have_settings(entry, message.settings, message.settings_version)

    # ------------------------------------------------------------ Queues

    @handles(QueueReady)
    def queue_ready(self, message: QueueReady, sender: ActorAddress) -> None:
        """Send requests there from now on."""
        child, entry = self.child_at(sender), self._roll.get(message.queue)
        if child is None or entry is None or entry.child is not child:
            return
        self.mark_ready(child)
        entry.came_up(message, sender)
        dead_letter = self._roll.get(DEAD_LETTER)
        if dead_letter is not None and dead_letter.ready is not None:
            # Its address is a new one after each start, so everybody is told when it comes up.
            for other in self._roll.live() if entry is dead_letter else [entry]:
                self.send(other.address, DeadLetterAt(dead_letter.address))
        self._go_on()

    @handles(QueueNotReady)
    def queue_not_ready(self, message: QueueNotReady, _sender: ActorAddress) -> None:
        """Remember why a Queue can't own its tasks; it ends itself and is tried again."""
        entry = self._roll.get(message.queue)
        if entry is not None:
            entry.down = message.reason

    @handles(Pong)
    def pong(self, message: Pong, sender: ActorAddress) -> None:  # noqa: ARG002 - the sender says it all
        """Take note of a sign of life."""
        child = self.child_at(sender)
        entry = self._roll.get(child.name) if child is not None else None
        if entry is not None:
            entry.pinged = None

    @handles(QueueStopped)
    def queue_stopped(self, message: QueueStopped, _sender: ActorAddress) -> None:
        """Count a queue that has stored everything."""
        entry = self._roll.get(message.queue)
        if entry is not None:
            entry.stopped, entry.interrupted = True, message.interrupted
        self._go_on()

    def child_exited(self, child: Child, exitcode: int | None) -> None:
        """Restart a dead Queue, once nothing of its workers is left."""
        processes.end_orphans({other.pid for other in self.children})
        entry = self._roll.get(child.name)
        if entry is None or entry.child is not child:
            return
        if entry.deletion is None and self._stop_reply is None:
            how = "ended" if exitcode is None else f"exited with {processes.exit_name(exitcode)}"
            log.warning("the owner of queue %s %s; it is restarted", child.name, how)
        entry.went_down(time.monotonic(), child.uptime(time.monotonic()))
        if entry.deletion is not None:
            self._delete(entry)
        self._go_on()

    # ------------------------------------------------------------ after every message

    def _go_on(self) -> None:
        now = time.monotonic()
        self._ping(now)
        if self._stop_reply is not None:
            self._finish_stop(now)
            self.wake_at(min(self._stop_by, self._next_ping))
            return
        if self._ready_reply is not None and all(e.ready is not None or e.down for e in self._roll):
            self.send(*self._ready_reply)
            self._ready_reply = None
        due = self._roll.due(now)[:START_AT_ONCE]
        for entry in due:
            self._bring_up(entry)
        self.wake_at(min(self._next_ping, self._roll.next_start(now)))

    def _bring_up(self, entry: Entry) -> None:
        actor_class = DeadLetterActor if entry.name == DEAD_LETTER else QueueActor
        entry.child = self.spawn(actor_class, entry.name, ready_within=QUEUE_READY_SECONDS)
        start, settings = self._start, self._settings
        message = StartQueue(
            queue=entry.name,
            data_dir=start.data_dir,
            store_url=start.store_url,
            boot_id=start.boot_id,
            samples=settings.samples.model_dump(mode="json"),
            log_level=settings.log.level,
            log_format=settings.log.format,
        )
        self.send(entry.child.address, message)

    def _ping(self, now: float) -> None:
        if now < self._next_ping:
            return
        self._next_ping = now + PING_SECONDS
        for entry in self._roll.live():
            if entry.pinged is None:
                entry.pinged = now
                self.send(entry.address, Ping(entry.name))
            elif now - entry.pinged > SILENCE_SECONDS and entry.child is not None:
                log.error("the owner of queue %s has not answered for %.0f s: it is replaced", entry.name, SILENCE_SECONDS)
                self.kill_child(entry.child)

    def _finish_stop(self, now: float) -> None:
        if self._stop_reply is None:
            return
        waiting = [entry for entry in self._roll if entry.stopping and not entry.stopped and entry.child is not None]
        if waiting and now < self._stop_by:
            return
        sender, message = self._stop_reply
        self.send(sender, ShutDownDone(message.request_id, sum(entry.interrupted for entry in self._roll)))
        self._stop_by = float("inf")

    def _delete(self, entry: Entry) -> None:
        assert entry.deletion is not None
        sender, message = entry.deletion
        entry.deletion = None
        with closing(open_store(self._start.store_url)) as store:
            if not message.force and not is_empty(store, entry.name):
                self.send(sender, self._not_empty(message))
                return
            tasks = store.delete_queue(entry.name)
        self._roll.remove(entry.name)
        self.send(sender, QueueDeleted(message.request_id, message.queue, tasks))

    def _have_settings(self, entry: Entry, settings: Any, version: int) -> None:
        entry.have_settings(settings, version)

    def _unknown(self, request_id: str, queue: str) -> Refused:
        near = difflib.get_close_matches(queue, [entry.name for entry in self._roll], 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        return Refused(request_id, RefusalReason.UNKNOWN_QUEUE, f"unknown queue {queue!r}{hint}")

    def _not_empty(self, message: DeleteQueue) -> Refused:
        detail = f"queue {message.queue!r} has unfinished or dead tasks; force deletes them too"
        return Refused(message.request_id, RefusalReason.NOT_EMPTY, detail)


_now_us = partial(lambda: time.time_ns() // 1_000)

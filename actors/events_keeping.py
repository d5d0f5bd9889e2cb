"""What the Registry does about the Events actor: starts it, watches it, and passes on whether events are wanted."""

import logging
import os
import time
from typing import Final

from thespian.actors import ActorAddress

from callboard.actors import processes
from callboard.actors.base import Child, handles
from callboard.actors.directory import Directory
from callboard.actors.events import EventsActor
from callboard.actors.messages import (
    EventsFound,
    EventsReady,
    FindEvents,
    Ping,
    PublishEvents,
    QueuesTold,
    RefusalReason,
    Refused,
    StartEvents,
    WantEvents,
)

NAME: Final = "events"
READY_SECONDS: Final = 10.0
_WAITS: Final = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the next start, by how many have failed in a row."""
_HEALTHY_SECONDS: Final = 5.0

log = logging.getLogger(__name__)


class EventsKeeping(Directory):
    """The part of the Registry that keeps an Events actor; `RegistryActor` is the whole. Times are monotonic."""

    def __init__(self) -> None:
        super().__init__()
        self._events: Child | None = None
        self._events_address: ActorAddress | None = None
        """None until it is ready."""
        self._events_wanted = False
        self._events_pinged: float | None = None
        self._events_failures = 0
        self._events_not_before = 0.0

    @handles(EventsReady)
    def events_ready(self, message: EventsReady, sender: ActorAddress) -> None:  # noqa: ARG002 - the sender says it all
        """Send subscribers there from now on, and the Queues' events, if they are wanted."""
        child = self.child_at(sender)
        if child is None or child is not self._events:
            return
        self.mark_ready(child)
        self._events_address, self._events_pinged = sender, None
        if self._events_wanted:
            self._tell_queues()
        self.go_on()

    @handles(WantEvents)
    def want_events(self, message: WantEvents, sender: ActorAddress) -> None:
        """Have all Queues send their events, or stop."""
        if self._events is not None and self.child_at(sender) is self._events:
            self._events_wanted = message.wanted
            self._tell_queues()

    @handles(FindEvents)
    def find_events(self, message: FindEvents, sender: ActorAddress) -> None:
        """Answer where the Events actor is."""
        child, address = self._events, self._events_address
        if child is None or address is None or child.ident is None:
            self.send(sender, Refused(message.request_id, RefusalReason.STARTING, "the events' actor is starting"))
        else:
            self.send(sender, EventsFound(message.request_id, address, child.pid, child.ident.started))

    @property
    def events_to(self) -> ActorAddress | None:
        """Where a Queue that comes up is to send its events, None for nowhere."""
        return self._events_address if self._events_wanted else None

    def is_events(self, child: Child | None) -> bool:
        """Tell whether this child is the Events actor."""
        return child is not None and child is self._events

    def events_answered(self) -> None:
        """Take note of a sign of life."""
        self._events_pinged = None

    def events_gone(self, exitcode: int | None) -> None:
        """Note that the Events actor is gone; one that had been well for a while is replaced at once."""
        assert self._events is not None
        now = time.monotonic()
        if exitcode != 0:  # else it was told to, with the whole system
            how = "ended" if exitcode is None else f"exited with {processes.exit_name(exitcode)}"
            log.warning("the events' actor %s; it is restarted", how)
        if self._events_address is not None and self._events.uptime(now) > _HEALTHY_SECONDS:
            self._events_failures = 0
        self._events = self._events_address = self._events_pinged = None
        self._events_not_before = now + _WAITS[min(self._events_failures, len(_WAITS) - 1)]
        self._events_failures += 1

    def start_events(self, now: float) -> float:
        """Start an Events actor if there is none; return when to look again."""
        if self._events is not None:
            return float("inf")
        if now < self._events_not_before:
            return self._events_not_before
        self._events = self.spawn(EventsActor, NAME, ready_within=READY_SECONDS)
        log_settings = self.start_message.settings["log"]
        start = StartEvents(self._events_wanted, log_settings["level"], log_settings["format"])
        self.send(self._events.address, start)
        return float("inf")

    def ping_events(self, now: float, silence_seconds: float) -> None:
        """Ask for a sign of life; kill it when there was none for too long."""
        if self._events is None or self._events_address is None:
            return
        if self._events_pinged is None:
            self._events_pinged = now
            self.send(self._events_address, Ping(f"{NAME} {os.getpid()}"))
        elif now - self._events_pinged > silence_seconds:
            log.error("the events' actor has not answered for %.0f s: it is replaced", silence_seconds)
            self.kill_child(self._events)

    def _tell_queues(self) -> None:
        live = self.roll.live()
        for entry in live:
            self.send(entry.address, PublishEvents(self.events_to))
        if self.events_to is not None:
            self.send(self.events_to, QueuesTold(tuple(entry.name for entry in live)))

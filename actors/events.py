"""The Events actor: takes in the Queues' events, and answers all who ask for them.

It is a child of the Registry, beside the Queues. What it holds may be lost: its successor begins a new epoch, by which
everybody who asks is told that something is missing.
"""

import os
import time

from thespian.actors import ActorAddress

from callboard.actors.base import CallboardActor, handles
from callboard.actors.event_desk import EventDesk
from callboard.actors.messages import EventsHappened, EventsReady, NextEvents, QueuesTold, StartEvents
from callboard.actors.queue_controls import read_clocks
from callboard.conf.logging import configure_logging


class EventsActor(CallboardActor):
    """One per server."""

    _desk: EventDesk | None = None

    @handles(StartEvents)
    def start(self, message: StartEvents, sender: ActorAddress) -> None:
        """Begin a new epoch."""
        configure_logging(message.log_level, message.log_format)
        # No two are the same, not even where the clock has been set back: they have different processes.
        epoch = f"{time.time_ns() // 1_000_000:x}.{os.getpid():x}"
        self._desk = EventDesk(epoch, sender, read_clocks(), wanted=message.wanted)
        self.send(sender, EventsReady(os.getpid()))
        self._perform()

    @handles(NextEvents)
    def next_events(self, message: NextEvents, sender: ActorAddress) -> None:
        """Answer what has happened, when something has."""
        if self._desk is not None:
            self._desk.asked(message, sender, read_clocks())
            self._perform()

    @handles(EventsHappened)
    def happened(self, message: EventsHappened, sender: ActorAddress) -> None:
        """Take in a Queue's events."""
        if self._desk is not None:
            self._desk.happened(message, sender, read_clocks())
            self._perform()

    @handles(QueuesTold)
    def told(self, message: QueuesTold, _sender: ActorAddress) -> None:
        """Take note of which Queues are sending from now on."""
        if self._desk is not None:
            self._desk.told(message, read_clocks())
            self._perform()

    def on_wakeup(self, now: float) -> None:  # noqa: ARG002 - both clocks are read together
        """Answer those whose time is up; let go when nobody asks any more."""
        if self._desk is not None:
            self._desk.turn(read_clocks())
            self._perform()

    def _perform(self) -> None:
        desk = self._desk
        assert desk is not None
        outbox, desk.outbox = desk.outbox, []
        for action in outbox:
            self.send(action.to, action.message)
        if (look := desk.next_look(read_clocks())) < float("inf"):
            self.wake_at(look)

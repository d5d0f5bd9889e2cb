"""Ask the Events actor, again and again, from outside the actor system: for LocalClient and for the HTTP server."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Event as Flag
from threading import Lock
from typing import Final

from callboard.actors.errors import RequestRefused, RequestTimedOut
from callboard.actors.messages import EventsFollow, EventsFound, NextEvents, RefusalReason
from callboard.actors.private_endpoint import Endpoint, Patience, PrivateEndpoint, Unanswered
from callboard.actors.processes import Ident

ANSWER_SECONDS: Final = 3.0
"""So much later than it should an answer may come: then the Events actor is stopped, or gone, and looked for again."""
FIND_SECONDS: Final = 15.0
FROM_NOW: Final = ("", 0)


class EventReader:
    """Reads on from a position, in one thread. A server (or Events actor) that dies meanwhile is looked for again.

    find: asks the Registry; raises when there is no server. stop: set by another thread to have `read` give up.
    lease_seconds: how long after an answer this still counts as a subscription.
    """

    def __init__(
        self,
        find: Callable[[], EventsFound],
        open_endpoint: Callable[[], AbstractContextManager[Endpoint]],
        *,
        position: tuple[str, int] = FROM_NOW,
        queues: tuple[str, ...] = (),
        lease_seconds: float,
        stop: Flag | None = None,
    ) -> None:
        self._find = find
        self._stop = stop or Flag()
        self._endpoint = PrivateEndpoint(open_endpoint, self._stop)
        self._found: EventsFound | None = None
        self._turn = Lock()
        self._queues = queues
        self._lease_seconds = lease_seconds
        self.position = position
        """Epoch and number of the last event that was read; `NextEvents` says what epoch "" means."""

    def read(self, wait_seconds: float) -> EventsFollow | None:
        """Return the next events, without any if there are none in time; None if the Events actor did not answer.

        The very first answer comes at once and is where the subscription begins. Raises what `find` raises, and
        `RequestTimedOut` when there is no Events actor for long.
        """
        with self._turn:
            self._found = self._found or self._locate()
            reply = self._ask(self._found, wait_seconds, self._lease_seconds)
            if reply is None:
                self._found = None
            else:
                self.position = (reply.epoch, reply.upto)
            return reply

    def close(self) -> None:
        """End the subscription, and give the endpoint back; another thread that is reading gives up."""
        self._stop.set()
        with self._turn:
            if self._found is not None:
                self._ask(self._found, 0.0, 0.0)
                self._found = None
            self._endpoint.close()

    def _ask(self, found: EventsFound, wait_seconds: float, lease_seconds: float) -> EventsFollow | None:
        epoch, after = self.position

        def question(request_id: str) -> NextEvents:
            return NextEvents(request_id, epoch, after, self._queues, wait_seconds, lease_seconds)

        patience = Patience(wait_seconds + ANSWER_SECONDS)
        try:
            return self._endpoint.ask(found.address, Ident(found.pid, found.started), question, EventsFollow, patience)
        except Unanswered:
            return None

    def _locate(self) -> EventsFound:
        patience = Patience(FIND_SECONDS)
        while True:
            try:
                return self._find()
            except RequestRefused as refusal:
                if refusal.reason != RefusalReason.STARTING:
                    raise
                patience.pause(self._stop, refusal.detail)
            except RequestTimedOut:
                if self._stop.is_set() or patience.left() <= 0:
                    raise

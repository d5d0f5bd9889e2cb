"""One thread's own endpoint in the actor system: asks, and takes only the answer to this very question."""

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from threading import Event
from typing import Final, Protocol, TypeVar

from thespian.actors import ActorAddress, ActorSystemException

from callboard.actors.errors import CallboardError, RequestRefused, RequestTimedOut
from callboard.actors.messages import Refused
from callboard.actors.processes import Ident, is_alive

SLICE_SECONDS: Final = 0.05
"""So long one wait is at most, before it is looked whether the one who is asked still lives."""
FIRST_PAUSE_SECONDS: Final = 0.005
LONGEST_PAUSE_SECONDS: Final = 0.1

Reply = TypeVar("Reply")


class Endpoint(Protocol):
    """What `ActorSystem.private()` gives a thread: an address of its own."""

    def ask(self, anActor: ActorAddress, msg: object, timeout: float) -> object:  # noqa: N803 - thespian's name
        """Send and wait: any message that arrives here, or None."""

    def listen(self, timeout: float) -> object:
        """Go on waiting: any message that arrives here, or None."""


class Unanswered(Exception):
    """The process that was asked has ended or did not answer in time; what was asked may or may not have happened."""


class Patience:
    """How long a request may take, and the pauses between its tries, which grow."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._pause = FIRST_PAUSE_SECONDS

    def left(self) -> float:
        """Return the seconds that are left, negative when time is up."""
        return self._until - time.monotonic()

    def pause(self, stop: Event, why: str) -> None:
        """Wait a little; raises `RequestTimedOut` when there is no time left for another try."""
        if self.left() <= self._pause or stop.wait(self._pause):
            raise RequestTimedOut(why)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)


class PrivateEndpoint:
    """Opens an endpoint when it is first needed, and a fresh one after a question that was not answered.

    stop: set by another thread to have every question given up at its next slice.
    """

    def __init__(self, open_endpoint: Callable[[], AbstractContextManager[Endpoint]], stop: Event) -> None:
        self._open_endpoint = open_endpoint
        self._stop = stop
        self._opened = ExitStack()
        self._endpoint: Endpoint | None = None

    def ask(
        self,
        address: ActorAddress,
        process: Ident | None,
        request: Callable[[str], object],
        answer: type[Reply],
        patience: Patience,
    ) -> Reply:
        """Ask what `request(request_id)` makes; `process`: whose death ends the waiting.

        Raises `Unanswered` or `RequestRefused`.
        """
        if self._endpoint is None:
            self._endpoint = self._opened.enter_context(self._open_endpoint())
        request_id = uuid.uuid4().hex
        asked = time.monotonic()
        reply = self._wait(self._endpoint.ask, address, request(request_id), patience=patience)
        # Anything may arrive at an endpoint: late replies to requests that were given up, for one.
        while getattr(reply, "request_id", None) != request_id:
            if reply is None:
                if patience.left() <= 0 or self._stop.is_set() or (process is not None and not is_alive(process)):
                    self.close()
                    raise Unanswered
                # A dead address makes ask and listen return at once; without this the loop would spin.
                if (early := asked + FIRST_PAUSE_SECONDS - time.monotonic()) > 0:
                    time.sleep(early)
                asked = time.monotonic()
            reply = self._wait(self._endpoint.listen, patience=patience)
        if isinstance(reply, Refused):
            raise RequestRefused(reply.reason, reply.detail, reply)
        if not isinstance(reply, answer):
            raise CallboardError(f"{type(reply).__name__} is no answer to this request")
        return reply

    def close(self) -> None:
        """Give the endpoint back, and with it all answers that are still to come."""
        self._endpoint = None
        self._opened.close()

    def _wait(self, wait: Callable[..., object], *sent: object, patience: Patience) -> object:
        try:
            return wait(*sent, min(SLICE_SECONDS, max(0.0, patience.left())))
        except ActorSystemException as failure:
            # It could not be sent, or only in part: the same as an owner that has gone.
            self.close()
            raise Unanswered from failure

"""Ask an actor from outside of the actor system, and take only its answer to this very question."""

import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from thespian.actors import ActorAddress, ActorSystem

SLICE_SECONDS: Final = 0.25


class Request(Protocol):
    """A message whose reply repeats its `request_id`."""

    @property
    def request_id(self) -> str:
        """What the reply repeats."""


def ask(
    actor_system: ActorSystem,
    address: ActorAddress,
    request: Request,
    within: float,
    still_there: Callable[[], bool] = lambda: True,
) -> Any | None:
    """Return the reply to a request, or None if there was none in time or `still_there` (asked every 0.25 s) says no.

    None means "dead, never received" or "perhaps done". Thespian's own `ask` returns whatever message comes next, and
    waits for its whole time when the actor dies meanwhile. Use an endpoint of your own (`ActorSystem.private`) per thread.
    """
    deadline = time.monotonic() + within
    reply = actor_system.ask(address, request, min(SLICE_SECONDS, within))
    while getattr(reply, "request_id", None) != request.request_id:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not still_there():
            return None
        reply = actor_system.listen(min(SLICE_SECONDS, remaining))
    return reply

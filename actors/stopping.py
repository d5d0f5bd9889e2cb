"""How a queue stops: what runs has the grace to end, all else goes back, everything is stored."""

from thespian.actors import ActorAddress

from callboard.actors.crew import Doom, Moment
from callboard.actors.foreman import Send
from callboard.actors.messages import QueueStopped, StopQueue
from callboard.actors.queue_owner import QueueOwner


class Stopping:
    """Stops one owner; idle until `begin`."""

    def __init__(self, owner: QueueOwner) -> None:
        self._owner = owner
        self._request: StopQueue | None = None
        self._sender: ActorAddress | None = None
        self._deadline = 0.0
        self._interrupted: set[str] = set()

    @property
    def next_look(self) -> float:
        """Return when the grace is over, in monotonic seconds."""
        return self._deadline if self._request is not None else float("inf")

    def begin(self, request: StopQueue, sender: ActorAddress, now: Moment) -> None:
        """Hand out nothing more and take back what has not begun."""
        self._request, self._sender = request, sender
        self._deadline = now.mono + request.grace_seconds
        self._owner.stopping = True
        self._owner.release_all(self._owner.crew.busy(), now)

    def turn(self, now: Moment) -> None:
        """Interrupt what still runs after the grace; answer when nothing does and all is stored."""
        if self._request is None or self._sender is None:
            return
        running = [slot for slot in self._owner.crew.busy() if slot.batch is not None and slot.batch.flights]
        if running:
            if now.mono >= self._deadline:
                self._deadline = float("inf")
                for slot in running:
                    self._interrupted.add(slot.name)
                    self._owner.doom(slot, Doom.INTERRUPT)
            return
        for slot in self._owner.crew.busy():
            self._owner.outcomes.reported(slot)
        self._owner.store_facts(now)
        reply = QueueStopped(self._request.request_id, self._owner.queue, len(self._interrupted))
        self._owner.outbox.append(Send(self._sender, reply))
        self._request = None

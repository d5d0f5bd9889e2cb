"""What a Queue actor does about events: it sends them to whom the Registry names, when there is something to tell."""

from thespian.actors import ActorAddress

from callboard.actors.base import handles
from callboard.actors.crew import Moment
from callboard.actors.event_publisher import EventPublisher
from callboard.actors.messages import EventsNoted, PublishEvents
from callboard.actors.queue_controls import QueueControls, read_clocks
from callboard.actors.queue_owner import QueueOwner


class QueueEvents(QueueControls):
    """The part of a Queue actor that tells what happens; `QueueActor` is the whole."""

    _publisher: EventPublisher

    @handles(PublishEvents)
    def publish_events(self, message: PublishEvents, _sender: ActorAddress) -> None:
        """Send events there from now on, or to nobody any more."""
        if self.owner is not None:
            self._publisher.publish_to(message.address)
            self.go_on(read_clocks())

    @handles(EventsNoted)
    def events_noted(self, message: EventsNoted, _sender: ActorAddress) -> None:
        """Send what has gathered meanwhile."""
        if self.owner is not None:
            self._publisher.noted(message.number)
            self.tell_events(self.owner, read_clocks())

    def publish(self, owner: QueueOwner, address: ActorAddress | None, *, rested: bool) -> None:
        """Have what a new owner does be told there, its recovery too; None: nobody wants to know."""
        self._publisher = EventPublisher(owner.queue, owner.incarnation, owner.outcomes.events, rested=rested)
        self._publisher.publish_to(address)

    def untold(self) -> bool:
        """Tell whether there are events that nobody has taken yet."""
        return self._publisher.untold()

    def tell_events(self, owner: QueueOwner, now: Moment) -> None:
        """Send events when it is time; what is decided and not stored yet is not among them."""
        if self._publisher.address is None:
            return
        if not owner.outcomes.facts.change:
            owner.outcomes.events.stored(now.wall)
        message = self._publisher.next_message(now)
        if message is not None:
            self.send(self._publisher.address, message)
        if (look := self._publisher.next_look()) < float("inf"):
            self.wake_at(look)

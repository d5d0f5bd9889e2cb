"""What the Registry does about queues that another server on the same store owns: they stand by here."""

import logging

from thespian.actors import ActorAddress

from callboard.actors.base import handles
from callboard.actors.dead_letter import NAME as DEAD_LETTER
from callboard.actors.events_keeping import EventsKeeping
from callboard.actors.messages import DeadLetterAt, QueueGone, QueueStandsBy
from callboard.actors.roll import Entry
from callboard.conf.store_url import is_postgres

log = logging.getLogger(__name__)


class StandingBy(EventsKeeping):
    """The part of the Registry that gets along with other servers; `RegistryActor` is the whole."""

    def __init__(self) -> None:
        super().__init__()
        self._held_back: list[Entry] = []

    @handles(QueueStandsBy)
    def queue_stands_by(self, message: QueueStandsBy, sender: ActorAddress) -> None:
        """Take note that another server owns a queue; ours waits until that has gone."""
        child, entry = self.child_at(sender), self.roll.get(message.queue)
        if child is None or entry is None or entry.child is not child:
            return
        self.mark_ready(child)
        if not entry.standby:
            log.info("queue %s stands by: it is owned by %s", entry.name, message.holder)
        entry.stands_by(message.holder)
        self.answer_waiting(entry)
        if entry.name == DEAD_LETTER:
            self.tell_of_dead_letter(entry)
        self.go_on()

    @handles(QueueGone)
    def queue_gone(self, message: QueueGone, sender: ActorAddress) -> None:
        """Strike off a queue that another server has deleted."""
        child, entry = self.child_at(sender), self.roll.get(message.queue)
        if child is not None and entry is not None and entry.child is child and entry.deletion is None:
            self.roll.remove(message.queue)
            self.answer_waiting(entry)

    def tell_of_dead_letter(self, entry: Entry) -> None:
        """Tell a queue that has come up where the dead letter is; all of them, if it is that one which has an owner now."""
        dead_letter = self.roll.get(DEAD_LETTER)
        if dead_letter is None or not (dead_letter.ready or dead_letter.standby):
            return
        # Its address is a new one after each start. Where it stands by it has none.
        for other in self.roll.live() if entry is dead_letter else [entry]:
            self.send(other.address, DeadLetterAt(dead_letter.address))

    def hold_back(self) -> None:
        """Where there may be another server, start nothing before it is known which of both wakes what sleeps."""
        if is_postgres(self.start_message.store_url):
            self._held_back = [entry for entry in self.roll if entry.name != DEAD_LETTER]
        for entry in self._held_back:
            entry.not_before = float("inf")

    def let_all_start(self) -> None:
        """Start what was held back, once the dead letter has an owner, here or elsewhere, or can't have one."""
        dead_letter = self.roll.get(DEAD_LETTER)
        if self._held_back and dead_letter is not None and dead_letter.is_decided:
            for entry in self._held_back:
                entry.not_before = 0.0
            self._held_back = []

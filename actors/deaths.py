"""What becomes of the news that a task is dead: the DeadLetter logs it, or the Queue where another server has that."""

import logging
from collections.abc import Iterable

from thespian.actors import ActorAddress

from callboard.actors.foreman import Send
from callboard.actors.messages import DeadTask, TasksDied
from callboard.actors.queue_owner import QueueOwner

log = logging.getLogger(__name__)


class Deaths:
    """The news of one Queue. Nobody is told, and nothing logged, before it is known where the DeadLetter is."""

    def __init__(self) -> None:
        self._dead_letter: ActorAddress | None = None
        self._elsewhere = False
        self._sent = 0
        self._noted = 0

    def dead_letter_at(self, address: ActorAddress | None) -> None:
        """Tell this DeadLetter from now on, for an earlier one will note nothing any more; None: another server has it."""
        self._dead_letter, self._elsewhere = address, address is None
        self._noted = self._sent

    def noted(self, number: int) -> None:
        """Take note that the DeadLetter has logged what it was told."""
        self._noted = number

    def tell(self, owner: QueueOwner) -> Send | None:
        """Return the newest dead for the DeadLetter, or log them where there is none.

        One unanswered message at a time, the rest is in the store anyway.
        """
        if self._elsewhere:
            log_deaths(owner.dead)
            owner.dead = []
        if not owner.dead or self._dead_letter is None or self._sent != self._noted:
            return None
        dead, owner.dead = tuple(owner.dead), []
        self._sent += 1
        return Send(self._dead_letter, TasksDied(owner.queue, self._sent, dead))


def log_deaths(tasks: Iterable[DeadTask]) -> None:
    """Say in the log which tasks a queue has given up: somebody should look."""
    for task in tasks:
        log.warning("task %s of queue %s is dead (%s): %s", task.id, task.queue, task.kind, task.message)

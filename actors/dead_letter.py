"""The DeadLetter actor: the queue `dead_letter`, and the log of what dies anywhere.

As a queue it has concurrency 0 and no worker: what is sent to it by name is accepted and never runs. Tasks that die
elsewhere keep their own queue and are only announced here; the store holds all of them, and a retry goes through the
owning queue.
"""

import logging

from thespian.actors import ActorAddress

from callboard.actors.base import handles
from callboard.actors.messages import DeathsNoted, TasksDied
from callboard.actors.queue_actor import QueueActor

NAME = "dead_letter"

log = logging.getLogger(__name__)


class DeadLetterActor(QueueActor):
    """Owns the queue `dead_letter` and logs every death."""

    @handles(TasksDied)
    def note(self, message: TasksDied, sender: ActorAddress) -> None:
        """Take note of tasks that a queue has given up, and say so in the log: somebody should look."""
        for task in message.tasks:
            log.warning("task %s of queue %s is dead (%s): %s", task.id, task.queue, task.kind, task.message)
        self.send(sender, DeathsNoted(message.number))

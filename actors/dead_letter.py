"""The DeadLetter actor: the queue `dead_letter`, and the log of what dies anywhere.

As a queue it has concurrency 0 and no worker: what is sent to it by name is accepted and never runs. Tasks that die
elsewhere keep their own queue and are only announced here; the store holds all of them, and a retry goes through the
owning queue.
"""

from thespian.actors import ActorAddress

from callboard.actors.base import handles
from callboard.actors.deaths import log_deaths
from callboard.actors.messages import DeathsNoted, TasksDied
from callboard.actors.queue_actor import QueueActor

NAME = "dead_letter"


class DeadLetterActor(QueueActor):
    """Owns the queue `dead_letter` and logs every death."""

    @handles(TasksDied)
    def note(self, message: TasksDied, sender: ActorAddress) -> None:
        """Take note of tasks that a queue has given up, and say so in the log: somebody should look."""
        log_deaths(message.tasks)
        self.send(sender, DeathsNoted(message.number))

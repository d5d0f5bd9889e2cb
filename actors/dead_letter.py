"""The DeadLetter actor: the queue `dead_letter`, and a view of what has just died anywhere.

As a queue it has concurrency 0 and no worker: what is sent to it by name is accepted and never runs. Tasks that die
elsewhere keep their own queue and are only announced here; the store holds all of them, and a retry goes through the
owning queue.
"""

import logging
from collections import deque

from thespian.actors import ActorAddress

from callboard.actors.base import handles
from callboard.actors.messages import DeadTask, DeathsListed, DeathsNoted, RecentDeaths, TasksDied
from callboard.actors.queue_actor import QueueActor

NAME = "dead_letter"
KEPT = 1_000

log = logging.getLogger(__name__)


class DeadLetterActor(QueueActor):
    """Owns the queue `dead_letter` and remembers the newest deaths since it started."""

    def __init__(self) -> None:
        super().__init__()
        self._recent: deque[DeadTask] = deque(maxlen=KEPT)
        self._total = 0

    @handles(TasksDied)
    def note(self, message: TasksDied, sender: ActorAddress) -> None:
        """Take note of tasks that a queue has given up, and say so in the log: somebody should look."""
        self._total += len(message.tasks)
        self._recent.extend(message.tasks)
        for task in message.tasks:
            log.warning("task %s of queue %s is dead (%s): %s", task.id, task.queue, task.kind, task.message)
        self.send(sender, DeathsNoted(message.number))

    @handles(RecentDeaths)
    def recent(self, message: RecentDeaths, sender: ActorAddress) -> None:
        """Answer the newest deaths first."""
        newest = tuple(reversed(self._recent))[: message.limit]
        self.send(sender, DeathsListed(message.request_id, newest, self._total))

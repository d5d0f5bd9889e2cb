"""What a queue does now and then: removes ended tasks that are older than its retention says."""

import logging

from callboard.actors.crew import Moment
from callboard.actors.errors import StoreUnavailable
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.task import TaskState

EVERY_SECONDS = 60.0
AT_ONCE = 500
"""Tasks a transaction: submissions are not kept waiting."""
_BETWEEN_SECONDS = 0.1

log = logging.getLogger(__name__)


class Housekeeping:
    """Removes old tasks of one owner, a few at a time."""

    def __init__(self, owner: QueueOwner, now: Moment) -> None:
        self._owner = owner
        self.next_look = now.mono + _BETWEEN_SECONDS
        """Monotonic seconds."""
        self.busy = True
        """Whether there may be something to remove now."""

    def turn(self, now: Moment) -> None:
        """Remove what is due to go; a store that does not answer is tried again later."""
        if now.mono < self.next_look:
            return
        kept = self._owner.settings.retention
        more = False
        try:
            for state, keep_ms in (
                (TaskState.COMPLETED, kept.completed),
                (TaskState.DEAD, kept.dead),
                (TaskState.CANCELLED, kept.cancelled),
            ):
                if keep_ms is not None:
                    with self._owner.store.transaction() as transaction:
                        gone = transaction.purge(state, now.wall - keep_ms * 1_000, AT_ONCE)
                    more = more or gone == AT_ONCE
        except StoreUnavailable as error:
            log.warning("queue %s could not remove old tasks: %s", self._owner.queue, error)
        self.busy = more
        self.next_look = now.mono + (_BETWEEN_SECONDS if more else EVERY_SECONDS)

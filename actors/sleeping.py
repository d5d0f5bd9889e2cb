"""When a queue that has nothing to do goes to sleep: it lets its workers go, and then has the Registry end itself."""

from collections.abc import Callable
from typing import Final

from thespian.actors import ActorAddress

from callboard.actors.crew import Moment
from callboard.actors.errors import StoreUnavailable
from callboard.actors.foreman import Send
from callboard.actors.hiring import Hiring
from callboard.actors.housekeeping import Housekeeping
from callboard.actors.messages import QueueAsleep
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.roll import has_history
from callboard.actors.task import TaskState

SOON_SECONDS: Final = 1.0
"""For a task that is due so soon it is not worth it."""
UNHEARD_SECONDS: Final = 5.0
"""If the Registry has not ended a queue that sleeps by then, it has not heard of it."""


class Sleeping:
    """Decides for one owner. asleep: it takes no requests any more, for it is about to be ended.

    What comes from then on is refused as stale: whoever sent it looks the queue up again, and the Registry starts it. So
    nothing is lost between the decision and the end. errand: it was woken only to remove old tasks. untold: whether
    there are events that nobody has taken yet, which would go with the process.
    """

    def __init__(
        self,
        owner: QueueOwner,
        hiring: Hiring,
        housekeeping: Housekeeping,
        registry: ActorAddress,
        now: Moment,
        *,
        errand: bool,
        untold: Callable[[], bool] = lambda: False,
    ) -> None:
        self._owner = owner
        self._hiring = hiring
        self._housekeeping = housekeeping
        self._registry = registry
        self._untold = untold
        self._since = float("-inf") if errand else now.mono
        """When there was last something to do, in monotonic seconds."""
        self._asleep_since: float | None = None
        self.next_look = now.mono

    @property
    def asleep(self) -> bool:
        """Whether the queue takes no requests any more."""
        return self._asleep_since is not None

    def touch(self, now: Moment) -> None:
        """Note that somebody uses the queue."""
        self._since = now.mono

    def turn(self, now: Moment) -> None:
        """Go to sleep if it is time; to be called before `Hiring.due`."""
        idle_ms = self._owner.settings.idle_after
        if self._asleep_since is not None:
            if now.mono < self._asleep_since + UNHEARD_SECONDS:
                self.next_look = self._asleep_since + UNHEARD_SECONDS
                return
            self._asleep_since, self._since = None, now.mono
        if idle_ms is None or self._has_work():
            self._since, self._hiring.dismissed, self.next_look = now.mono, False, float("inf")
            if idle_ms is not None:
                self.next_look = now.mono + idle_ms / 1_000
            return
        if now.mono < self._since + idle_ms / 1_000:
            self._hiring.dismissed, self.next_look = False, self._since + idle_ms / 1_000
            return
        if self._housekeeping.busy:
            # An errand: it is over when this is done.
            self._hiring.dismissed, self.next_look = True, self._housekeeping.next_look
            return
        if self._untold():
            self.next_look = now.mono + SOON_SECONDS
            return
        self._fall_asleep(now)

    def _has_work(self) -> bool:
        """Tell whether anything happens, or would if it could: what is in trouble is to be seen."""
        owner = self._owner
        if owner.stopping or owner.draining or owner.trouble or self._hiring.trouble:
            return True
        if owner.crew.busy() or owner.leases or owner.outcomes.facts.change or owner.dead:
            return True
        settings = owner.settings
        may_run = not owner.paused and settings.concurrency > 0 and bool(settings.handlers)
        return may_run and len(owner.window) > 0

    def _fall_asleep(self, now: Moment) -> None:
        owner = self._owner
        try:
            due_at, counts = owner.store.next_due(), owner.store.counts()
        except StoreUnavailable:
            self.touch(now)
            return
        if counts.get(TaskState.EXECUTING, 0) or (due_at is not None and due_at < now.wall + SOON_SECONDS * 1e6):
            self.touch(now)
            self.next_look = now.mono + SOON_SECONDS
            return
        self._hiring.dismissed, self.next_look = True, float("inf")
        if owner.crew.slots:  # each of their deaths brings us back
            return
        self._asleep_since, self.next_look = now.mono, now.mono + UNHEARD_SECONDS
        message = QueueAsleep(owner.queue, owner.incarnation, owner.settings_version, due_at, has_history(counts))
        owner.outbox.append(Send(self._registry, message))

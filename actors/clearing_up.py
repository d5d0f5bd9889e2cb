"""The part of the Registry that removes the tasks of deleted queues: a little now and then, between its messages.

A queue is deleted at once for everybody who looks. Its tasks may be millions, and a Registry that is silent for long is
killed. What is still there when a server ends is gone on with by the next one.
"""

import logging
import time
from typing import Final

from callboard.actors.errors import QueueBeingDeleted, StoreUnavailable
from callboard.actors.messages import RefusalReason, Refused
from callboard.actors.roll import bring_in
from callboard.actors.store import Store
from callboard.actors.store.opening import microseconds, open_store
from callboard.actors.wakes import Wakes
from callboard.conf.settings import QueueSettings

SLICE_SECONDS: Final = 0.3
BETWEEN_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 2.0
"""So long it waits where there was nothing that it could do: another server does it, or the store does not answer."""

log = logging.getLogger(__name__)


class ClearingUp(Wakes):
    """Clears up after deleted queues; `RegistryActor` is the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited: dict[str, QueueSettings] = {}
        """Queues of the configuration that can't be made yet: earlier ones of their names are still being deleted."""
        self.next_clearing = 0.0
        """Monotonic seconds. An earlier server may have left something behind."""
        self._clearing: Store | None = None

    def unknown(self, request_id: str, queue: str) -> Refused:
        """Say that there is no such queue; of one that will be there in a moment, that it is to be asked for again."""
        if queue in self.awaited:
            return being_deleted(request_id, QueueBeingDeleted(queue))
        return super().unknown(request_id, queue)

    def clear_deleted(self, now: float) -> None:
        """Remove some of what is left of deleted queues, if it is time for that; called after every message."""
        if now < max(self.next_clearing, self.visits.not_before):
            return
        try:
            # The same store for all slices: to make one takes longer than a visit.
            with self.visits.opened(lambda: self._clearing or open_store(self.start_message.store_url)) as store:
                self._clearing = store
                self.clear_some(store)
                self._bring_in_awaited(store)
        except StoreUnavailable as error:
            self.next_clearing = time.monotonic() + IDLE_SECONDS
            log.warning("what is left of deleted queues can't be removed: %s", error)
        if self.next_clearing == float("inf"):
            self._clearing = None

    def clear_some(self, store: Store) -> None:
        """Remove what there is time for, and see to it that the rest is removed soon."""
        begun = time.monotonic()
        done = store.clear_deleted(SLICE_SECONDS)
        now = time.monotonic()
        busy = now - begun >= SLICE_SECONDS
        self.next_clearing = float("inf") if done else now + (BETWEEN_SECONDS if busy else IDLE_SECONDS)

    def _bring_in_awaited(self, store: Store) -> None:
        # One that somebody has made meanwhile is left as it is.
        wanted = {name: settings for name, settings in self.awaited.items() if self.roll.get(name) is None}
        if wanted:
            rows = bring_in(store, wanted, microseconds())
            self.take_up(rows, store.agenda(), store.counts(), awake=wanted)
        self.awaited = {name: settings for name, settings in wanted.items() if self.roll.get(name) is None}

    def _rescan(self) -> None:
        super()._rescan()
        # Another server may have ended before it was done.
        self.next_clearing = min(self.next_clearing, time.monotonic())


def being_deleted(request_id: str, error: QueueBeingDeleted) -> Refused:
    """Refuse what needs a name that is not free yet."""
    return Refused(request_id, RefusalReason.STARTING, str(error))

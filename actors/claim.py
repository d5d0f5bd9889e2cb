"""A queue's claim on its tasks: taken at once, or when another server on the same store has let go of it."""

from typing import Final

from callboard.actors.errors import OwnedElsewhere, StoreUnavailable
from callboard.actors.store import Ownership, QueueStore, Store
from callboard.actors.store.opening import open_store

LOOK_SECONDS: Final = 1.0
"""How often a queue that stands by looks whether it may take over."""


class Claim:
    """Owns one queue of one store, sooner or later. holder: why not yet; "" as long as nobody stood in the way."""

    def __init__(self, store_url: str, queue: str) -> None:
        self._store_url = store_url
        self._queue = queue
        self._store: Store | None = None
        self.holder = ""

    def take(self) -> tuple[QueueStore, Ownership] | None:
        """Become the owner, or return None if another server is: then ask again in a second.

        Raises KeyError when the queue is not in the store (any more), `StoreUnavailable` when that can't be told the
        first time. One that stands by outlasts a store that does not answer.
        """
        try:
            if self._store is None:
                self._store = open_store(self._store_url)
            owned = self._store.own(self._queue)
        except OwnedElsewhere as error:
            self.holder = error.holder
            return None
        except StoreUnavailable as error:
            if not self.holder:
                raise
            self.holder = f"nobody can tell: {error}"
            return None
        self._store.close()
        return owned

"""Short visits to the store by somebody who has other things to do than to wait for it."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from callboard.actors.errors import StoreUnavailable
from callboard.actors.store import Store


class StoreVisits:
    """Opens the store for a moment, and after a failure not at all for as long as that took.

    A database that does not answer takes seconds to say so. Visitors who queue up would each wait for that, and nobody
    else would get an answer all the while: so at least half of the time is kept free of it. A failure that takes no time,
    like a refused connection, keeps nobody away.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.not_before = 0.0
        """The store is not opened until then."""
        self._why = ""

    @contextmanager
    def opened(self, open_it: Callable[[], Store]) -> Iterator[Store]:
        """Hand out the store for the block. Raises `StoreUnavailable`, which it may remember from the last time."""
        begun = self._clock()
        if begun < self.not_before:
            raise StoreUnavailable(self._why)
        try:
            with closing(open_it()) as store:
                yield store
        except StoreUnavailable as error:
            ended = self._clock()
            self.not_before, self._why = ended + (ended - begun), str(error)
            raise

"""Keep queues supplied with tasks over HTTP, whatever is being killed, and know how many were accepted."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from callboard.actors.bench.under_test import ServerUnderTest
from callboard.actors.client import Client
from callboard.actors.errors import CallboardError
from callboard.actors.task import WAITING_STATES

SUPPLY: Final = 60
"""So many tasks wait in each queue at least: more than its workers run while it is looked at again."""
LOOK_SECONDS: Final = 0.05
CALL_SECONDS: Final = 20.0
GIVE_UP_SECONDS: Final = 60.0


class Feeder:
    """A client in a thread of its own. A submission that fails is repeated under its key until it is accepted."""

    def __init__(self, server: ServerUnderTest, queues: Sequence[str]) -> None:
        self._server = server
        self._queues = queues
        self._store = server.store
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="feeder", daemon=True)
        self.accepted: Counter[str] = Counter()
        self.repeated = 0
        """Submissions that the client itself had given up and that were sent again."""
        self.failure: CallboardError | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the last submission be answered, and send no more."""
        self._stopping.set()
        self._thread.join()

    def _feed(self) -> None:
        try:
            with Client(self._server.url, timeout=CALL_SECONDS) as client:
                while not self._stopping.is_set():
                    for queue in self._queues:
                        if self._waiting(queue) < SUPPLY:
                            self.accepted[queue] += self._submit(client, queue)
                    self._stopping.wait(LOOK_SECONDS)
        except CallboardError as error:
            self.failure = error

    def _waiting(self, queue: str) -> int:
        counts = self._store.counts()[queue]
        return sum(counts[state] for state in WAITING_STATES)

    def _submit(self, client: Client, queue: str) -> int:
        key, deadline = uuid.uuid4().hex, time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                return len(client.enqueue_many([{"queue": queue}] * SUPPLY, idempotency_key=key))
            except CallboardError:
                if time.monotonic() > deadline:
                    raise
                self.repeated += 1
                time.sleep(LOOK_SECONDS)

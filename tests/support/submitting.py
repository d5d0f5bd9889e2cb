"""Keep submitting tasks from a thread while something else happens to the server."""

import threading
from types import TracebackType
from typing import Any, Self

from callboard.actors import Client

BETWEEN_SECONDS = 0.02


class Submitting:
    """Submits one task after the other until the block ends; each is named by a number in its context.

    Submissions go through `Client`, which sends one again, under its own Idempotency-Key, for as long as it is not
    answered. `accepted` has the ids of the answered ones, by name; the block fails if one could not be submitted at all.
    """

    def __init__(self, url: str, queues: tuple[str, ...], context: dict[str, Any]) -> None:
        self.accepted: dict[str, str] = {}
        self._queues = queues
        self._context = context
        self._client = Client(url, timeout=60)
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._submit, name="submitting")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()
        if error is None and self._failure is not None:
            raise self._failure

    def _submit(self) -> None:
        number = 0
        try:
            while not self._over.wait(BETWEEN_SECONDS):
                number += 1
                queue = self._queues[number % len(self._queues)]
                task = self._client.enqueue(queue, {**self._context, "name": str(number)})
                self.accepted[str(number)] = task.id
        except BaseException as error:  # noqa: BLE001  # raised again where the block ends
            self._failure = error

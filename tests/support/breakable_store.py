"""A queue's store that can be made to fail as a real one does: before a transaction, at its commit, or at every read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from callboard.actors.errors import StoreUnavailable
from callboard.actors.store import HandOut, QueueStore, ReadyTask, Transaction
from callboard.actors.task import TaskState


class Breakage(StrEnum):
    NONE = ""
    BEGIN = "the writers' turn does not come"
    COMMIT = "the disk is full"
    READ = "the file is gone"


class BreakableStore:
    """Passes everything on to `whole` until it is broken."""

    def __init__(self, whole: QueueStore) -> None:
        self.whole = whole
        self.breakage = Breakage.NONE
        self.commits = 0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        if self.breakage in {Breakage.BEGIN, Breakage.READ}:
            raise StoreUnavailable(self.breakage)
        with self.whole.transaction() as transaction:
            yield transaction
            if self.breakage is Breakage.COMMIT:
                raise StoreUnavailable(self.breakage)
        self.commits += 1

    def ready(self, after: tuple[int, int] | None, limit: int, max_bytes: int) -> list[ReadyTask]:
        self._read()
        return self.whole.ready(after, limit, max_bytes)

    def next_due(self) -> int | None:
        self._read()
        return self.whole.next_due()

    def oldest_ready(self) -> int | None:
        self._read()
        return self.whole.oldest_ready()

    def load(self, ids: Sequence[str]) -> list[ReadyTask]:
        self._read()
        return self.whole.load(ids)

    def counts(self) -> dict[TaskState, int]:
        self._read()
        return self.whole.counts()

    def hand_outs(self) -> list[HandOut]:
        self._read()
        return self.whole.hand_outs()

    def close(self) -> None:
        self.whole.close()

    def _read(self) -> None:
        if self.breakage is Breakage.READ:
            raise StoreUnavailable(self.breakage)

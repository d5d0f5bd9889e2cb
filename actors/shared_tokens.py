"""The tokens of a worker that runs many tasks at once: it may have several batches, so a token names its batch too.

They go through a FIFO as those of `hand_out` do, with the same promise: whoever reads one has that task.
"""

import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

MAX_OFFERED: Final = 500
"""So many tokens at most wait in the FIFO: they fit into one page, which even a FIFO cut short by the kernel has."""
_INDEX_BITS: Final = 8
_ALL: Final = 4_096


def key_of(number: int, index: int) -> int:
    """Name a task by its batch and its index in it."""
    return number << _INDEX_BITS | index


def number_of(key: int) -> int:
    """Return the batch that a key names."""
    return key >> _INDEX_BITS


def index_of(key: int) -> int:
    """Return the index in the batch that a key names."""
    return key & (1 << _INDEX_BITS) - 1


class SharedTokens:
    """One end of the FIFO; opened for reading and writing, so that it never blocks."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make the FIFO (0600) and open it: the Queue's part."""
        os.mkfifo(path, 0o600)
        return cls(path)

    def put(self, keys: Iterable[int]) -> None:
        """Offer these, all in one write. The worker puts back those of a batch whose message it has not got yet."""
        tokens = array("Q", keys)
        if tokens:
            os.write(self._fd, tokens)

    def take_all(self) -> list[int]:
        """Take whatever is there."""
        try:
            return array("Q", os.read(self._fd, _ALL)).tolist()
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Let go of the FIFO."""
        os.close(self._fd)

"""Tokens and journal, both ends: how a Queue and its worker agree on a batch through crashes.

*Tokens* is a FIFO into which the Queue writes the indices of a batch, one byte each. The worker reads one before it
begins each task; the Queue takes tasks back by reading from the same FIFO. The kernel lets exactly one of the two have
each index, and nobody can hang the other by being stopped.

*Journal* is a file to which the worker appends a record when a task begins and when it ends. A write survives SIGKILL
(not a power cut: hence the boot id in its head); a torn last record is ignored. An index whose token is gone but whose
beginning is not in the journal had not begun.
"""

import errno
import os
import struct
import time
import zlib
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Self

MAX_BATCH = 256
"""One byte an index."""
_RECORD = struct.Struct("<IQBBQI")
"""checksum of all that follows, batch number, index, mark, time in microseconds, length of the payload"""
_BODY = struct.Struct("<QBBQI")
_CHECKSUM_SIZE = 4
_HEAD_SIZE = _RECORD.size
_FULL_DISK_RETRY_SECONDS = 0.1
_LARGE_JOURNAL_BYTES = 1_000_000
_FIFO_CAPACITY = 4_096
"""PIPE_BUF on Linux: as many bytes are written at once or not at all. A batch is far smaller."""


class Mark(IntEnum):
    """What a record says."""

    BEGUN = 1
    COMPLETED = 2
    """The payload is the result as JSON text."""
    FAILED = 3
    """The payload is a JSON object: kind, message, traceback, discard, and exit where a program has ended."""
    LOGGED = 4
    """What the attempt has logged, as a JSON list of lines; stands before its end."""
    LAUNCHED = 5
    """It goes on in a process that it has left running: the payload is its id."""
    CANCELLED = 6
    """It was stopped because its cancellation was asked for; only where a worker can stop one task alone."""


ENDS = frozenset({Mark.COMPLETED, Mark.FAILED, Mark.CANCELLED})
"""Of these a task has one; what else is told of it stands before."""


class Record(NamedTuple):
    """One line of a journal. `at`: microseconds since the epoch."""

    number: int
    token: int
    """The index in the batch."""
    mark: int
    at: int
    payload: bytes


class Tokens:
    """One end of a worker's FIFO; both ends are opened for reading and writing, so that neither ever blocks."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make the FIFO (0600) and open it: the Queue's part."""
        os.mkfifo(path, 0o600)
        return cls(path)

    def put(self, indices: bytes) -> None:
        """Offer a batch: all of its indices in one write."""
        if indices:
            os.write(self._fd, indices)

    def take(self) -> int | None:
        """Take one index; None when there is none left."""
        try:
            return os.read(self._fd, 1)[0]
        except BlockingIOError:
            return None

    def take_all(self) -> bytes:
        """Take back every index that nobody has taken."""
        try:
            return os.read(self._fd, _FIFO_CAPACITY)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Let go of the FIFO."""
        os.close(self._fd)


def _head(boot_id: str, incarnation: int) -> bytes:
    return f"callboard journal 1 {boot_id} {incarnation}\n".encode()


def record(number: int, token: int, mark: Mark, at: int, payload: bytes = b"") -> bytes:
    """Write one record; see `Record` for its fields."""
    body = _BODY.pack(number, token, mark, at, len(payload)) + payload
    return zlib.crc32(body).to_bytes(_CHECKSUM_SIZE, "little") + body


class JournalWriter:
    """The worker's end."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def write(self, records: bytes) -> None:
        """Append these records in one write: a process killed meanwhile leaves them whole or torn, never mixed."""
        while not self._append(records):
            # The disk is full. What happened can't be told yet, so this worker waits; the Queue sees to the rest.
            time.sleep(_FULL_DISK_RETRY_SECONDS)

    def _append(self, records: bytes) -> bool:
        """Append all of it, or nothing and return False when there is no space."""
        try:
            written = os.write(self._fd, records)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                return False
            raise
        if written == len(records):
            return True
        os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        return False

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


class JournalReader:
    """The Queue's end: reads what is new since the last time."""

    def __init__(self, path: Path, boot_id: str, incarnation: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        head = _head(boot_id, incarnation)
        try:
            os.pwrite(self._fd, head, 0)
        except OSError:
            os.close(self._fd)
            raise
        self._start = self._offset = len(head)

    @property
    def size(self) -> int:
        """How much has been read since the file began anew, in bytes."""
        return self._offset - self._start

    def begin_anew(self) -> None:
        """Drop what has been read and stored, if it has grown large; only while the worker has no batch."""
        if self._offset - self._start > _LARGE_JOURNAL_BYTES:
            os.ftruncate(self._fd, self._start)
            self._offset = self._start

    def read(self) -> list[Record]:
        """Return the whole records that were appended since the last call."""
        size = os.fstat(self._fd).st_size - self._offset
        if size <= 0:
            return []
        records, end = _parse(os.pread(self._fd, size, self._offset))
        self._offset += end
        return records

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def read_left_behind(path: Path, boot_id: str) -> list[Record] | None:
    """Read the journal of a worker that is gone.

    None: it can't be believed, it was written before the machine last started.
    """
    head, _, rest = path.read_bytes().partition(b"\n")
    if not head.startswith(f"callboard journal 1 {boot_id} ".encode()):
        return None
    return _parse(rest)[0]


def read_records(content: bytes) -> list[Record]:
    """Return the records of which `record` wrote the bytes."""
    return _parse(content)[0]


def _parse(content: bytes) -> tuple[list[Record], int]:
    """Return the whole, undamaged records and where they end; stops at the first that is not."""
    records: list[Record] = []
    position, size = 0, len(content)
    # Each task has two records, and its Queue reads them one by one: nothing is called in here that can be done without,
    # and a named tuple's own constructor takes as long as all the rest.
    unpack, checksum_of, new = _RECORD.unpack_from, zlib.crc32, tuple.__new__
    while position + _HEAD_SIZE <= size:
        checksum, number, token, mark, at, length = unpack(content, position)
        payload = position + _HEAD_SIZE
        end = payload + length
        if end > size or checksum_of(content[position + _CHECKSUM_SIZE : end]) != checksum:
            break
        records.append(new(Record, (number, token, mark, at, content[payload:end])))
        position = end
    return records, position

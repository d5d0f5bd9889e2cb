"""What an attempt logs is kept with it: the last lines, in memory while all goes well and in a file for a sudden death.

A task that logs nothing costs nothing but the making of an empty `Attempt`.
"""

import contextlib
import json
import logging
import os
import sys
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from callboard.actors.hand_out import Mark, record
from callboard.actors.task import format_time

MAX_LINES: Final = 200
MAX_CHARACTERS: Final = 16_000
"""Of all lines of an attempt together; the oldest go first."""
MAX_LINE_CHARACTERS: Final = 2_000
_MAX_FILE_BYTES: Final = 1_000_000
_TAIL_BYTES: Final = 256_000
"""So much of the file is read after a death: room for the lines of all attempts that ran at once."""


_TASK_LOGGERS: Final = "callboard.task."


class Lines:
    """The last lines of one attempt."""

    __slots__ = ("_lines", "_size")

    def __init__(self) -> None:
        self._lines: deque[str] | None = None
        self._size = 0

    def add(self, line: str) -> str:
        """Keep a line, or as much of it as is allowed, and return what is kept."""
        line = line if len(line) <= MAX_LINE_CHARACTERS else line[:MAX_LINE_CHARACTERS] + "…"
        lines = self._lines
        if lines is None:
            lines = self._lines = deque()
        lines.append(line)
        self._size += len(line)
        while len(lines) > MAX_LINES or self._size > MAX_CHARACTERS:
            self._size -= len(lines.popleft())
        return line

    def as_list(self) -> list[str]:
        """Return them, oldest first."""
        return list(self._lines or ())


class Attempt(Lines):
    """The lines of an attempt that runs: `number` is its batch's, `token` its index there."""

    __slots__ = ("ended", "number", "token")

    def __init__(self, number: int, token: int) -> None:
        # Without the base's constructor: one of these is made for each task.
        self._lines = None
        self._size = 0
        self.number = number
        self.token = token
        self.ended = False

    def end(self) -> bytes:
        """Return the journal's record of what was logged, nothing if nothing was."""
        self.ended = True
        if self._lines is None:
            return b""
        payload = json.dumps(self.as_list()).encode()
        return record(self.number, self.token, Mark.LOGGED, time.time_ns() // 1_000, payload)


_current: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


class AttemptLogs(logging.Handler):
    """Keeps what is logged in a worker process with the attempt that logs it.

    An attempt is known by its context (contextvars: its thread or asyncio task). What a thread of its own logs goes to the
    attempt that was begun last. path: the file for what must outlive this process.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._written = 0
        self._latest: Attempt | None = None

    def begin(self, number: int, token: int) -> Attempt:
        """Keep what this context logs from now on for this attempt."""
        self._latest = attempt = Attempt(number, token)
        _current.set(attempt)
        return attempt

    def running(self) -> Attempt | None:
        """Return the attempt that runs in this context, None between two."""
        attempt = _current.get()
        if attempt is None or attempt.ended:
            attempt = self._latest
        return None if attempt is None or attempt.ended else attempt

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record: a line, and one more for each line of its traceback."""
        try:
            text = self._text(record)
        except Exception:  # noqa: BLE001 - a task's arguments may not fit its text
            text = f"{record.msg!r} {record.args!r}"
        who = "" if record.name.startswith(_TASK_LOGGERS) else f" {record.name}:"
        self.add(f"{format_time(int(record.created * 1e6))} {record.levelname.lower()}{who} {text}")

    def _text(self, record: logging.LogRecord) -> str:
        if not isinstance(record.msg, dict):
            return self.format(record)
        # structlog hands its events on as they are.
        event = {name: value for name, value in record.msg.items() if not name.startswith("_") and name != "exc_info"}
        said = str(event.pop("event", ""))
        text = " ".join([said, *(f"{name}={value}" for name, value in event.items())])
        given = record.msg.get("exc_info")
        error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
        return text if error is None else "\n".join([text, "".join(traceback.format_exception(error))])

    def add(self, text: str) -> None:
        """Keep a text, line by line, for the attempt that runs here."""
        if (attempt := self.running()) is None:
            return
        for line in text.splitlines():
            self._write(attempt, attempt.add(line))

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()

    def _write(self, attempt: Attempt, line: str) -> None:
        lines = [line]
        # A full disk, or a task that has closed its files, is no reason for a task's logging to fail.
        with contextlib.suppress(OSError):
            if self._written > _MAX_FILE_BYTES:
                os.ftruncate(self._fd, 0)
                self._written = 0
                lines = attempt.as_list()
            text = "".join(f"{attempt.number} {attempt.token} {json.dumps(each)}\n" for each in lines)
            self._written += os.write(self._fd, text.encode())


def read_lines(path: Path, number: int) -> dict[int, list[str]]:
    """Return what the attempts of a batch had logged in a worker that is gone, by token; without what was torn."""
    try:
        with path.open("rb") as file:
            start = max(os.fstat(file.fileno()).st_size - _TAIL_BYTES, 0)
            file.seek(start)
            written = file.read().split(b"\n")
    except OSError:
        return {}
    # Where a line was cut in two, its rest may look like one of another batch.
    return _by_token(written[1:] if start else written, str(number).encode())


def _by_token(written: Iterable[bytes], number: bytes) -> dict[int, list[str]]:
    found: defaultdict[int, Lines] = defaultdict(Lines)
    for line in written:
        batch, _, rest = line.partition(b" ")
        token, _, text = rest.partition(b" ")
        if batch == number:
            with contextlib.suppress(ValueError):  # torn by the death that it is read after
                found[int(token)].add(json.loads(text))
    return {token: lines.as_list() for token, lines in found.items()}

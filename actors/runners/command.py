"""How a worker runs one attempt with a program of any language: JSON in, JSON out, the exit code decides."""

import contextlib
import json
import os
import selectors
import shutil
import subprocess
from collections.abc import Callable
from typing import Any, Final

from callboard.actors.errors import CallboardError
from callboard.actors.handlers import TaskContext
from callboard.actors.processes import exit_name
from callboard.actors.runners.call import MAX_RESULT_BYTES, AttemptOutcome, failure, say
from callboard.actors.task import ErrorKind, format_time

_CHUNK: Final = 65_536
_LOOK_AGAIN_SECONDS: Final = 0.02
"""Where the kernel can't say that a process has ended (no pidfd)."""


class CommandNotFound(CallboardError):
    """A command whose program is not there or can't be executed."""


class CommandRunner:
    """Starts the program once for each attempt. keep: takes what it writes to standard error, line by line.

    It stays in the worker's process group, and so does what it starts: a kill of the worker ends all of it.
    """

    def __init__(self, command: tuple[str, ...], keep: Callable[[str], None]) -> None:
        """Raise `CommandNotFound` when there is no such program."""
        if shutil.which(command[0]) is None:
            raise CommandNotFound(f"there is no program {command[0]!r} that can be started")
        self._command = command
        self._keep = keep

    def run(self, ctx: TaskContext) -> AttemptOutcome:
        """Run one attempt; never raises."""
        given = json.dumps(task_given(ctx)).encode()
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as error:
            return failure(ErrorKind.ERROR, f"{self._command[0]} can't be started: {say(error)}")
        with process, contextlib.closing(_Talk(process, given, self._keep)) as talk:
            try:
                fits = talk.finish()
            except BaseException as error:  # noqa: BLE001 - nothing may escape into the actor, which would run it again
                process.kill()
                return failure(ErrorKind.ERROR, say(error))._replace(spent=isinstance(error, MemoryError))
        if not fits:
            size = f"more than {MAX_RESULT_BYTES:,} bytes to its standard output"
            return failure(ErrorKind.RETURNED, f"it wrote {size}: store it elsewhere and write where")
        if process.returncode:
            return _failed(exit_name(process.returncode), talk.last_words)
        return _judge(bytes(talk.output))


def task_given(ctx: TaskContext) -> dict[str, Any]:
    """Return what a program reads on its standard input."""
    return {
        "id": ctx.id,
        "queue": ctx.queue,
        "type": ctx.type,
        "context": ctx.context,
        "attempt": ctx.attempt,
        "max_retries": ctx.max_retries,
        "deadline": format_time(int(ctx.deadline * 1e6)),
    }


def _failed(code: str | int, last_words: str) -> AttemptOutcome:
    how = f"signal {code}" if isinstance(code, str) else f"exit code {code}"
    message = f"it ended with {how}" + (f": {last_words}" if last_words else "")
    return failure(ErrorKind.ERROR, message, exit=code)


def _judge(output: bytes) -> AttemptOutcome:
    if not output.strip():
        return AttemptOutcome(completed=True, payload=b"null")
    try:
        payload = json.dumps(json.loads(output), allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        start = output.strip()[:100].decode(errors="replace")
        return failure(ErrorKind.RETURNED, f"its standard output is not JSON ({say(error)}): {start}")
    if len(payload) > MAX_RESULT_BYTES:  # escapes are longer than what they stand for
        return failure(ErrorKind.RETURNED, f"its result takes more than {MAX_RESULT_BYTES:,} bytes of JSON")
    return AttemptOutcome(completed=True, payload=payload)


class _Talk:
    """Everything between worker and program until that ends, whichever way it reads and writes."""

    def __init__(self, process: subprocess.Popen[bytes], given: bytes, keep: Callable[[str], None]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.output = bytearray()
        self.last_words = ""
        self._process = process
        self._given = memoryview(given)
        self._keep = keep
        self._line = b""
        self._selector = selectors.DefaultSelector()
        self._in, self._out, self._err = (pipe.fileno() for pipe in (process.stdin, process.stdout, process.stderr))
        for descriptor in (self._in, self._out, self._err):
            os.set_blocking(descriptor, False)
        self._selector.register(self._in, selectors.EVENT_WRITE)
        self._selector.register(self._out, selectors.EVENT_READ)
        self._selector.register(self._err, selectors.EVENT_READ)
        try:
            self._pidfd = os.pidfd_open(process.pid)
        except (AttributeError, OSError):
            self._pidfd = -1
        else:
            self._selector.register(self._pidfd, selectors.EVENT_READ)

    def finish(self) -> bool:
        """Give and take until the program has ended; False: it wrote too much, and was killed for it."""
        while True:
            # What it wrote before its end is in the pipes by the time that its end is seen.
            for key, _ in self._selector.select(None if self._pidfd >= 0 else _LOOK_AGAIN_SECONDS):
                if key.fd == self._in:
                    self._give()
                elif key.fd in {self._out, self._err}:
                    self._take(key.fd)
            ended = self._process.poll() is not None
            if ended:
                # Not until they are closed: what the program has left running may hold them open.
                for descriptor in (self._out, self._err):
                    while descriptor in self._selector.get_map() and self._take(descriptor):
                        pass
                self._say(self._line)
            if len(self.output) > MAX_RESULT_BYTES:
                self._process.kill()
                return False
            if ended:
                return True

    def close(self) -> None:
        """Let go of what was opened here."""
        # Popen closes standard input with a flush, which has nothing to write: it was never written through that.
        self._selector.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)

    def _give(self) -> None:
        try:
            self._given = self._given[os.write(self._in, self._given[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._given = self._given[:0]  # it does not care for its input
        if not self._given:
            assert self._process.stdin is not None
            self._selector.unregister(self._in)
            self._process.stdin.close()

    def _take(self, descriptor: int) -> bool:
        """Read what is there; False when there is nothing (more)."""
        try:
            read = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not read:
            self._selector.unregister(descriptor)
            return False
        if descriptor == self._out:
            if len(self.output) <= MAX_RESULT_BYTES:
                self.output += read
            return len(self.output) <= MAX_RESULT_BYTES
        *lines, self._line = (self._line + read).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self._line) > _CHUNK:
            self._say(self._line)
            self._line = b""
        return True

    def _say(self, line: bytes) -> None:
        if text := line.decode(errors="replace").rstrip():
            self.last_words = text
            self._keep(text)

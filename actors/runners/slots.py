"""How a worker with `slots` runs many attempts at once: async handlers on one asyncio loop, others each in a thread.

The actor's own thread only passes on what its Queue says. Everything else is done in the loop's thread: tokens are taken
there, so a loop that is blocked takes none, and one thread alone writes the journal. A pipe tells the actor when to ring.
"""

import asyncio
import contextlib
import contextvars
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from callboard.actors.attempt_logs import Attempt as LoggedAttempt
from callboard.actors.attempt_logs import AttemptLogs
from callboard.actors.hand_out import JournalWriter, Mark, record
from callboard.actors.handlers import TaskContext
from callboard.actors.leftovers import kill_leftovers
from callboard.actors.messages import RunTask, StopTask
from callboard.actors.runners.call import AttemptOutcome, CallRunner, failure
from callboard.actors.runners.making import Runner
from callboard.actors.runners.threads import Threads
from callboard.actors.shared_tokens import SharedTokens, index_of, key_of, number_of
from callboard.actors.task import ErrorKind

_RING: Final = b"!"


@dataclass(slots=True)
class Attempt:
    """One that runs. stopped: why it was asked to end; only one that is not in a thread can be asked."""

    task: RunTask
    handle: asyncio.Task[AttemptOutcome]
    logged: LoggedAttempt
    in_thread: bool
    stopped: StopTask | None = None


class Slots:
    """Runs what it is handed until the process ends.

    prepare: returns a task's runner (None: there is none for its type) and context. untold: called with what went wrong
    when nothing more can be told; it ends the process. bell: becomes readable when there is something to tell.
    """

    def __init__(
        self,
        tokens: SharedTokens,
        journal: JournalWriter,
        logs: AttemptLogs,
        prepare: Callable[[RunTask], tuple[Runner, TaskContext] | AttemptOutcome],
        untold: Callable[[BaseException], None],
    ) -> None:
        self._tokens = tokens
        self._journal = journal
        self._logs = logs
        self._prepare = prepare
        self._untold = untold
        self._pid = os.getpid()
        self._threads = Threads()
        self._running: dict[int, Attempt] = {}
        self._ends = b""
        self.bell, self._clapper = os.pipe()
        os.set_blocking(self.bell, False)
        os.set_blocking(self._clapper, False)
        self.spent = False
        """Whether this process is to be replaced: for want of memory, or because a thread does not stop."""
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._live, name="slots", daemon=True).start()

    # ------------------------------------------------------------ in the actor's thread

    def run(self, number: int, tasks: Sequence[RunTask]) -> None:
        """Begin those of a batch that there are tokens for."""
        self._loop.call_soon_threadsafe(self._told, self._begin, number, tasks)

    def stop(self, message: StopTask) -> None:
        """Cancel one attempt; one that runs in a thread can't be, and has this process ask to be replaced."""
        self._loop.call_soon_threadsafe(self._told, self._stop, message)

    def write(self, records: bytes) -> None:
        """Write into the journal from whatever thread."""
        self._loop.call_soon_threadsafe(self._told, self._journal.write, records)

    def heard(self) -> None:
        """Silence the bell."""
        with contextlib.suppress(BlockingIOError):  # it has not rung
            os.read(self.bell, 4_096)

    # ------------------------------------------------------------ in the loop's thread

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        while True:
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                continue  # out of a task that a handler has started; what was awaited has got it as well
            except BaseException as error:  # noqa: BLE001 - the loop's own files may be gone
                self._untold(error)

    def _told(self, step: Callable[..., None], *arguments: object) -> None:
        try:
            step(*arguments)
        except BaseException as error:  # noqa: BLE001 - a task has closed the files, or taken all memory
            self._untold(error)

    def _begin(self, number: int, tasks: Sequence[RunTask]) -> None:
        keys = self._tokens.take_all()
        # A batch whose message is still to come: its tokens wait for that in the FIFO, where they can be taken back.
        self._tokens.put(key for key in keys if number_of(key) != number)
        mine = [key for key in keys if number_of(key) == number]
        now = time.time_ns() // 1_000
        self._journal.write(b"".join(record(number, index_of(key), Mark.BEGUN, now) for key in mine))
        for key in mine:
            self._start(key, tasks[index_of(key)])
        if len(mine) < len(tasks):
            self._ring()

    def _start(self, key: int, task: RunTask) -> None:
        prepared = self._prepare(task)
        if isinstance(prepared, AttemptOutcome):
            self._end(key, prepared)
            return
        runner, context = prepared
        if on_loop := isinstance(runner, CallRunner) and runner.is_async:
            attempt = runner.run_async(context)
        else:
            attempt = self._run_in_thread(runner, context)
        variables = contextvars.copy_context()  # each in its own: what it logs is known by that
        logged = variables.run(self._logs.begin, number_of(key), index_of(key))
        handle = self._loop.create_task(attempt, context=variables)
        self._running[key] = Attempt(task, handle, logged, in_thread=not on_loop)
        handle.add_done_callback(lambda _: self._told(self._ended, key))

    async def _run_in_thread(self, runner: Runner, context: TaskContext) -> AttemptOutcome:
        outcome: asyncio.Future[AttemptOutcome] = self._loop.create_future()
        variables = contextvars.copy_context()

        def job() -> None:
            ended = variables.run(runner.run, context)
            if os.getpid() != self._pid:
                os._exit(0)  # a child that the task has forked: this loop is not its own
            self._loop.call_soon_threadsafe(outcome.set_result, ended)

        try:
            self._threads.run(job)
        except RuntimeError as error:
            return failure(ErrorKind.ERROR, f"no thread could be started: {error}")
        return await outcome

    def _ended(self, key: int) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # as above
        attempt = self._running.pop(key)
        outcome = _outcome_of(attempt)
        self._end(key, outcome, attempt.logged.end())

    def _end(self, key: int, outcome: AttemptOutcome | None, logged: bytes = b"") -> None:
        if not self._ends:
            self._loop.call_soon(self._told, self._tell)  # what ends in the same round of the loop is told with it
        if outcome is None:
            mark, payload = Mark.CANCELLED, b""
        else:
            mark, payload = Mark.COMPLETED if outcome.completed else Mark.FAILED, outcome.payload
            self.spent |= outcome.spent
        self._ends += logged + record(number_of(key), index_of(key), mark, time.time_ns() // 1_000, payload)

    def _tell(self) -> None:
        ends, self._ends = self._ends, b""
        self._journal.write(ends)
        self._ring()
        if not self._running:
            # While others run it can't be known whose they are.
            kill_leftovers()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it rings already
            os.write(self._clapper, _RING)

    def _stop(self, message: StopTask) -> None:
        attempt = self._running.get(key_of(message.number, message.index))
        if attempt is None:
            return
        if attempt.in_thread:
            self.spent = True
            self._ring()
        else:
            attempt.stopped = message
            attempt.handle.cancel()


def _outcome_of(attempt: Attempt) -> AttemptOutcome | None:
    """Return how an attempt ended, None if it was cancelled because somebody asked for it."""
    outcome = None if attempt.handle.cancelled() else attempt.handle.result()
    if outcome is not None and (outcome.completed or attempt.stopped is None):
        return outcome  # whatever it was asked, it was quicker
    if attempt.stopped is None:
        return failure(ErrorKind.ERROR, "CancelledError")
    if attempt.stopped.timed_out:
        message = f"cancelled: it ran longer than its timeout of {attempt.task.timeout_ms} ms"
        return failure(ErrorKind.TIMEOUT, message)
    return None

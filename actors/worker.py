"""A Worker actor: one process that runs a queue's tasks, one after another.

It tells nothing by messages but that it is ready and that its batch is over; what happened to each task stands in its
journal, which survives it.
"""

import faulthandler
import json
import logging
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Final, Never

from thespian.actors import ActorAddress, ActorExitRequest

from callboard.actors import processes
from callboard.actors.attempt_logs import AttemptLogs
from callboard.actors.base import CallboardActor, handles
from callboard.actors.hand_out import JournalWriter, Mark, Tokens, record
from callboard.actors.handlers import TaskContext
from callboard.actors.inheritance import close_inherited
from callboard.actors.leftovers import kill_leftovers
from callboard.actors.messages import Report, Run, RunTask, StartWorker, StopTask, WorkerFailed, WorkerReady
from callboard.actors.runners.call import AttemptOutcome, failure
from callboard.actors.runners.making import Runner, make_runners
from callboard.actors.runners.slots import Slots
from callboard.actors.runners.threads import STACK_BYTES
from callboard.actors.shared_tokens import SharedTokens
from callboard.actors.start_failure import describe_start_failure
from callboard.actors.task import ErrorKind
from callboard.actors.worker_files import WorkerFiles
from callboard.conf.logging import configure_logging

CANNOT_TELL_EXIT_CODE: Final = 71

log = logging.getLogger(__name__)


class WorkerActor(CallboardActor):
    """Runs batches for its parent, a Queue."""

    def __init__(self) -> None:
        super().__init__()
        # A group of its own, so that a task's subprocesses die with the worker; and adopting those that detach
        # themselves, so that none outlives its task unseen.
        os.setpgid(0, 0)
        processes.become_subreaper()
        self._runners: dict[str, Runner] = {}
        self._last_batch = 0
        self._slots: Slots | None = None

    @handles(StartWorker)
    def start(self, message: StartWorker, sender: ActorAddress) -> None:
        """Limit and prepare this process, import the handlers, then say whether it can run tasks."""
        configure_logging(message.log_level, message.log_format)
        close_inherited(Path(message.data_dir))
        _let_signals_act()
        self._start = message
        self._pid = os.getpid()
        self._data_dir = Path(message.data_dir)
        self._journal = JournalWriter(Path(message.journal))
        files = WorkerFiles.of(Path(message.tokens).parent, message.worker)
        self._trace = files.trace
        faulthandler.enable(self._trace.open("w"))
        self._logs = AttemptLogs(files.logs)
        settings = message.settings
        if "" not in sys.path:
            # As with `python -m`: a team's modules stand in the folder from which the server was started.
            sys.path.insert(0, "")
        try:
            self._runners, learned = make_runners(settings, self._logs.add, self._launched)
        except BaseException as error:
            # The queue logs the reason when it is a new one: this happens again at each try.
            log.debug("worker %s of queue %s can't start", message.worker, message.queue, exc_info=True)
            self.send(sender, WorkerFailed(message.worker, describe_start_failure(error)))
            self.send(self.myAddress, ActorExitRequest())
            return
        logging.root.addHandler(self._logs)  # only now: a team's modules may set up logging when they are imported
        if settings.max_memory:
            _limit_memory(settings.max_memory + (settings.slots * STACK_BYTES if settings.slots > 1 else 0))
        if settings.slots > 1:
            tokens = SharedTokens(Path(message.tokens))
            self._slots = Slots(tokens, self._journal, self._logs, self._prepare, self._end_untold)
            self._queue = sender
            self.watch(self._slots.bell)
        else:
            self._tokens = Tokens(Path(message.tokens))
        self.send(sender, WorkerReady(message.worker, os.getpid(), learned))

    @handles(Run)
    def run(self, message: Run, sender: ActorAddress) -> None:
        """Run the batch's tasks as long as there are tokens for them."""
        if self._slots is not None:
            self._slots.run(message.number, message.tasks)
            return
        if message.number <= self._last_batch:
            return  # delivered twice: the tokens that are there belong to another batch
        self._last_batch = message.number
        try:
            self._run_all(message.number, message.tasks)
        except BaseException as error:  # noqa: BLE001 - see there
            self._end_untold(error)
        self.send(sender, Report(self._start.worker, message.number))

    @handles(StopTask)
    def stop(self, message: StopTask, _sender: ActorAddress) -> None:
        """Stop one task of many."""
        if self._slots is not None:
            self._slots.stop(message)

    def on_readable(self, descriptor: int) -> None:  # noqa: ARG002 - there is only one
        """Ring for what has ended: the journal tells it."""
        assert self._slots is not None
        self._slots.heard()
        self.send(self._queue, Report(self._start.worker, 0, spent=self._slots.spent))

    def _run_all(self, number: int, tasks: tuple[RunTask, ...]) -> None:
        ended = b""
        while (token := self._tokens.take()) is not None:
            # The end of one task and the beginning of the next go into one write.
            self._journal.write(ended + record(number, token, Mark.BEGUN, time.time_ns() // 1_000))
            logs = self._logs.begin(number, token)
            outcome = self._attempt(tasks[token])
            mark = Mark.COMPLETED if outcome.completed else Mark.FAILED
            ended = logs.end() + record(number, token, mark, time.time_ns() // 1_000, outcome.payload)
            if outcome.spent:
                self._journal.write(ended)
                os._exit(0)  # nothing runs here: the queue takes the rest back and charges nobody
        if ended:
            self._journal.write(ended)

    def _launched(self, pid: int) -> None:
        """Tell which process the task goes on in."""
        if (attempt := self._logs.running()) is not None:
            at = time.time_ns() // 1_000
            launched = record(attempt.number, attempt.token, Mark.LAUNCHED, at, str(pid).encode())
            if self._slots is not None:
                self._slots.write(launched)
            else:
                self._journal.write(launched)

    def _end_untold(self, error: BaseException) -> Never:
        """End this process, which can't tell any more what happens in it: a task has closed its files or taken all memory.

        The queue finds the reason where a crash leaves its stack.
        """
        try:
            self._trace.write_text("".join(traceback.format_exception(error)))
        finally:
            os._exit(CANNOT_TELL_EXIT_CODE)

    def _attempt(self, task: RunTask) -> AttemptOutcome:
        prepared = self._prepare(task)
        if isinstance(prepared, AttemptOutcome):
            return prepared
        runner, context = prepared
        outcome = runner.run(context)
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the task has forked came back as well: there must not be two of this worker
        signal.alarm(0)  # one that the task has left would kill the next
        left = kill_leftovers()
        if left and outcome.completed:
            text = f"it left a subprocess running, which was killed: {', '.join(left)}"
            return failure(ErrorKind.ERROR, text)
        return outcome

    def _prepare(self, task: RunTask) -> tuple[Runner, TaskContext] | AttemptOutcome:
        """Return what runs a task and what it gets, or how it has failed: for want of a handler."""
        runner = self._runners.get(task.type)
        if runner is None:
            known = ", ".join(sorted(self._runners)) or "none"
            return failure(ErrorKind.ERROR, f"this queue has no handler for the type {task.type!r} (it has: {known})")
        start = self._start
        context = TaskContext(
            task.id,
            start.queue,
            task.type,
            json.loads(task.context),
            task.attempt,
            task.max_retries,
            time.time() + task.timeout_ms / 1_000,
            self._data_dir,
            start.store_url,
            start.samples,
        )
        return runner, context


def _let_signals_act() -> None:
    """Undo thespian's handlers: a task's own alarms, children and faults are to act as in any process."""
    faulthandler.disable()  # or enabling it again would not take its signals back
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _limit_memory(more: int) -> None:
    """Let this process allocate so many bytes on top of what it has now; a task that wants more gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

"""A queue for tests of workers: its owner is the one of servers, its only worker is the process that it is in."""

import json
import logging
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final, Unpack, cast

from pydantic import ValidationError

from callboard.actors.attempt_logs import AttemptLogs
from callboard.actors.crew import Moment, Slot, SlotState
from callboard.actors.errors import CallboardError, InvalidOption, TaskNotFound
from callboard.actors.foreman import Send
from callboard.actors.hand_out import JournalReader, Mark, Record, Tokens, read_records, record
from callboard.actors.handler_loading import Handler, handler_of
from callboard.actors.handlers import TaskContext
from callboard.actors.local_submission import build_task
from callboard.actors.messages import Outcome, QueueFound, Run, RunTask, Submission
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.request import TaskOptions, TaskRequest
from callboard.actors.runners.call import AttemptOutcome, CallRunner
from callboard.actors.store import TaskFilter
from callboard.actors.store.memory import MemoryStore
from callboard.actors.task import ENDED_STATES, Task
from callboard.conf.explain import explain
from callboard.conf.learning import learned_of
from callboard.conf.settings import QueueSettings

_ALL: Final = 2**31


class Queue:
    """A queue of its own with a worker in this process. options: those of a queue in the configuration.

    types: further handlers, by task type. now: microseconds since the epoch, from when on its clock goes.
    """

    def __init__(
        self,
        worker: Any = None,
        *,
        name: str = "test",
        types: Mapping[str, Any] | None = None,
        data_dir: Path | None = None,
        samples: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.name = name
        self._data_dir, self._samples = data_dir, samples
        handlers = {} if worker is None else {_path_of(worker): worker}
        named = {f"types:t{number}": (type_, target) for number, (type_, target) in enumerate((types or {}).items())}
        loaded = {path: handler_of(target, path) for path, target in handlers.items()}
        loaded |= {path: handler_of(target, type_) for path, (type_, target) in named.items()}
        written = {"worker": next(iter(handlers), ""), "types": {type_: path for path, (type_, _) in named.items()}}
        settings = _settings_of({"concurrency": 1, **written, **options})
        self.settings = settings.with_learned(
            learned_of(settings, {path: handler.options for path, handler in loaded.items()})
        )
        self._runners = self._make_runners(loaded)
        self._skipped = 0
        """Microseconds that the clock was put forward."""
        self._store = MemoryStore(clock=lambda: self._now().wall)
        text = self.settings.model_dump_json()
        self._store.put_queue(name, text, text, self._now().wall)
        self._owned, ownership = self._store.own(name)
        self._owner = QueueOwner(name, self._owned, ownership, self.settings, rng=random.Random(0), now=self._now())  # noqa: S311 - jitter
        self._journal = _Journal()
        tokens, journal = cast("Tokens", _Tokens()), cast("JournalReader", self._journal)
        self._slot = Slot("here", os.getpid(), tokens, journal, address=self)
        self._owner.hired(self._slot)

    def enqueue(self, context: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]) -> Task:
        """Submit a task, with the options that clients take. Raises `InvalidOption`."""
        wanted = TaskRequest.of({"queue": self.name, "context": context, **options})
        now = self._now()
        found = QueueFound("", self.name, None, os.getpid(), 0.0, 0, self.settings, 0)
        new = build_task(wanted, found, "test", now.wall)
        (verdict,) = self._owner.submit((Submission((new,)),), now)
        if verdict.outcome is not Outcome.ACCEPTED:
            raise CallboardError(verdict.detail)
        return self.get(new.id)

    def get(self, task_id: str) -> Task:
        """Return a task. Raises `TaskNotFound`."""
        task = self._store.get(task_id)
        if task is None:
            raise TaskNotFound(task_id)
        return task

    def tasks(self) -> list[Task]:
        """Return all tasks, oldest first."""
        return self._store.page(TaskFilter(self.name), _ALL, None).tasks[::-1]

    def drain(self, *, wait: bool = True) -> list[Task]:
        """Run tasks until none is left, and return those that have ended, oldest first.

        wait: put the clock forward to what is due later, retries included; else only what is due now is run.
        """
        self._slot.state = SlotState.IDLE
        with keeping_logs() as logs, ExitStack() as ending:
            for runner in self._runners.values():
                ending.callback(runner.close)
            while self._run_next(logs) or (wait and self._skip_to_next()):
                pass
        # Between two drains nobody is there to run anything: what is submitted waits.
        self._slot.state = SlotState.STARTING
        return [task for task in self.tasks() if task.state in ENDED_STATES]

    def _run_next(self, logs: AttemptLogs) -> bool:
        self._owner.turn(self._now())
        outbox, self._owner.outbox = self._owner.outbox, []
        batches = [action.message for action in outbox if isinstance(action, Send) and isinstance(action.message, Run)]
        for batch in batches:
            for token, task in enumerate(batch.tasks):
                self._journal.write(record(batch.number, token, Mark.BEGUN, self._now().wall))
                lines = logs.begin(batch.number, token)
                outcome = self._attempt(task)
                mark = Mark.COMPLETED if outcome.completed else Mark.FAILED
                self._journal.write(lines.end() + record(batch.number, token, mark, self._now().wall, outcome.payload))
            self._owner.reported(self._slot.name, batch.number, self._now())
        return bool(batches)

    def _skip_to_next(self) -> bool:
        due = self._owned.next_due()
        if due is not None:
            self._skipped += max(due - self._now().wall, 0)
        return due is not None

    def _attempt(self, task: RunTask) -> AttemptOutcome:
        return self._runners[task.type].run(context_of(task, self.name, self._data_dir, self._samples))

    def _make_runners(self, loaded: Mapping[str, Handler]) -> dict[str, CallRunner]:
        runners: dict[str, CallRunner] = {}
        for type_, path in self.settings.handlers.items():
            runner = CallRunner(loaded[cast("str", path)], strict=self.settings.strict)
            runners[type_] = runners[self.settings.learned[type_].name or type_] = runner
        return runners

    def _now(self) -> Moment:
        return Moment(time.time_ns() // 1_000 + self._skipped, time.monotonic() + self._skipped / 1e6)


class _Tokens:
    """Nobody else takes any: a batch is run as a whole."""

    def put(self, indices: bytes) -> None:
        """Let them be run."""

    def take_all(self) -> bytes:
        """Take back nothing."""
        return b""


class _Journal:
    """A journal that only this process reads."""

    def __init__(self) -> None:
        self._written = b""

    def write(self, records: bytes) -> None:
        self._written += records

    def read(self) -> list[Record]:
        records, self._written = read_records(self._written), b""
        return records

    def begin_anew(self) -> None:
        """Do nothing: what was read is forgotten already."""


def context_of(task: RunTask, queue: str, data_dir: Path | None, settings: Mapping[str, Any] | None) -> TaskContext:
    """Return what a handler sees of a task in this process."""
    return TaskContext(
        task.id,
        queue,
        task.type,
        json.loads(task.context),
        task.attempt,
        task.max_retries,
        time.time() + task.timeout_ms / 1_000,
        data_dir or Path(gettempdir()),
        "memory:",
        dict(settings or {}),
    )


def _settings_of(options: dict[str, Any]) -> QueueSettings:
    try:
        return QueueSettings.model_validate(options)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, detail["loc"]))
        raise InvalidOption(f"{place}: {explain(QueueSettings, detail)}", field=place) from None


def _path_of(worker: Any) -> str:
    """Return a path that names it, though it may be one that nothing could be imported from."""
    name = "".join(part for part in getattr(worker, "__qualname__", type(worker).__qualname__) if part not in "<>")
    return f"{getattr(worker, '__module__', 'tests')}:{name}"


@contextmanager
def keeping_logs() -> Iterator[AttemptLogs]:
    """Keep what is logged from `info` on with the attempt that logs it, as a server does."""
    logs = AttemptLogs(Path(os.devnull))
    logger = logging.getLogger("callboard.task")
    level = logger.level
    logger.setLevel(min(logging.INFO, logger.getEffectiveLevel()))
    logging.root.addHandler(logs)
    try:
        yield logs
    finally:
        logging.root.removeHandler(logs)
        logger.setLevel(level)
        logs.close()

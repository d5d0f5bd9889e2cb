"""Talk to the server of a data directory on the same machine, by sealed messages, without HTTP and its token."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, Unpack

from callboard.actors.caller import QueueCaller
from callboard.actors.connection import DEFAULT_TIMEOUT_SECONDS, Connection
from callboard.actors.control import Control
from callboard.actors.errors import CallboardError, PartlyAccepted, RequestTimedOut, TaskNotFound, WrongState
from callboard.actors.local_pulling import LocalPulling
from callboard.actors.local_submission import cut, read_changes, submit
from callboard.actors.local_subscription import LocalSubscription
from callboard.actors.messages import CancelTasks, EditTask, QueueFound, RetryTasks, TasksChanged
from callboard.actors.request import TaskChanges, TaskOptions, TaskRequest, changes_body
from callboard.actors.request_values import check_key
from callboard.actors.submitting import check_move
from callboard.actors.task import ENDED_STATES, Task, TaskState
from callboard.actors.task_ids import existing_id

POLL_SECONDS: Final = 0.01
DEFAULT_DATA_DIR: Final = Path("var")


class LocalClient(LocalPulling):
    """The same calls as `Client`, for programs of the server's own user. Close it, or use it in a `with` block.

    Thespian keeps one actor system a process: a second LocalClient, to another server, takes the first one's place, and
    none may be used inside a worker or after a fork. May be shared between threads, which take turns.
    timeout: seconds after which a call is given up, those included in which a dead server is being started again.
    created_by: what the tasks say of who submitted them. Raises `ServerNotRunning` when there is no server.
    """

    def __init__(
        self,
        data_dir: str | Path = DEFAULT_DATA_DIR,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        *,
        created_by: str = "local",
    ) -> None:
        self.connection = Connection(Path(data_dir), timeout)
        self.control = Control(self.connection)
        self._created_by = created_by

    def enqueue(
        self,
        queue: str,
        context: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> Task:
        """Submit a task and return it; it is on the server's disk then. `TaskRequest` says what the options mean.

        A queue that is full refuses at once (`RequestRefused`), where `Client` waits until its timeout.
        """
        wanted = TaskRequest.of({"queue": queue, "context": context, **options})
        return self.enqueue_many([wanted], idempotency_key=idempotency_key)[0]

    def enqueue_many(
        self, tasks: Iterable[TaskRequest | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> list[Task]:
        """Submit many tasks and return them in their order.

        All are validated before any is stored; then each queue's are stored in one transaction, or in several when they
        weigh more than 1 MB. `PartlyAccepted` says which were accepted when a later part fails.
        """
        wanted = [TaskRequest.of(one) for one in tasks]
        parts = list(cut(wanted, check_key(idempotency_key) if idempotency_key else ""))
        for part in parts:
            part.build(self.control.find(part.queue), self._created_by)
        accepted: dict[int, Task] = {}
        for part in parts:
            try:
                stored = submit(part, self.connection, self._created_by)
            except CallboardError as error:
                if accepted:
                    raise PartlyAccepted([accepted[place] for place in sorted(accepted)], str(error)) from error
                raise
            accepted |= zip(part.places, stored, strict=True)
        return [accepted[place] for place in range(len(wanted))]

    def get(self, task_id: str) -> Task:
        """Fetch one task. Raises `TaskNotFound`."""
        task = self.connection.store.get(existing_id(task_id))
        if task is None:
            raise TaskNotFound(task_id)
        return task

    def wait(self, task_id: str, timeout: float | None = None) -> Task:
        """Fetch a task once it is completed, dead or cancelled; raises `RequestTimedOut` after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            # Read before the task: what is written in between is noticed at once below.
            seen = self.connection.store.version()
            task = self.get(task_id)
            if task.state in ENDED_STATES:
                return task
            while True:
                if until is not None and time.monotonic() >= until:
                    raise RequestTimedOut(f"task {task_id} is still {task.state} after {timeout:g} s")
                time.sleep(POLL_SECONDS)
                if self.connection.store.version() != seen:
                    break

    def retry(self, task_id: str, *, keep_attempts: bool = False) -> Task:
        """Put a dead, cancelled or completed task back with a fresh budget. Raises `WrongState` for any other."""
        task_id = existing_id(task_id)

        def request(request_id: str, found: QueueFound) -> RetryTasks:
            return RetryTasks(request_id, found.queue, found.incarnation, (task_id,), keep_attempts)

        return self._change(task_id, request, frozenset(TaskState) - ENDED_STATES)

    def update(self, task_id: str, **changes: Unpack[TaskChanges]) -> Task:
        """Change a waiting task: `priority`, `queue`, and `delay` or `run_at`. Raises `WrongState` for any other."""
        body = changes_body(changes)
        priority, run_at, queue = read_changes(body, time.time_ns() // 1_000)
        task = self.get(task_id)
        task_id = task.id
        if queue not in {"", task.queue}:
            check_move(self.control.find(queue).settings, task.type, queue)

        def request(request_id: str, found: QueueFound) -> EditTask:
            return EditTask(request_id, found.queue, found.incarnation, task_id, priority, run_at, queue)

        try:
            return self._change(task_id, request, frozenset())
        except TaskNotFound:
            if self.get(task_id).queue == task.queue:
                raise
        # Somebody has just moved it, perhaps an owner that died before it could say so.
        return self.update(task_id, **changes)

    def cancel(self, task_id: str) -> Task:
        """Cancel a task, and kill it if it runs. Raises `WrongState` for one that has ended."""
        task_id = existing_id(task_id)

        def request(request_id: str, found: QueueFound) -> CancelTasks:
            return CancelTasks(request_id, found.queue, found.incarnation, (task_id,))

        return self._change(task_id, request, frozenset({TaskState.CANCELLED}))

    def queues(self) -> list[dict[str, Any]]:
        """Fetch all queues as `GET /api/queues` shows them."""
        return self.control.queues()

    def subscribe(
        self, queues: Sequence[str] = (), *, last_id: str | None = None, recent: int = 0, timeout: float | None = None
    ) -> LocalSubscription:
        """Follow what happens to tasks (of these queues, of all if none is named): `for event in` it, in a `with` block.

        last_id: go on after this event, where it is still known; recent: begin with so many that have happened before.
        timeout: seconds without an event after which iterating raises `RequestTimedOut`, None for never.
        """
        for queue in queues:
            self.control.check_name(queue)
        return LocalSubscription(self.connection, queues, last_id, recent, timeout)

    def close(self) -> None:
        """Let go of the server."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _change(self, task_id: str, request: Any, wanted: frozenset[TaskState]) -> Task:
        """Send a change of one task to its queue; `wanted`: the states that it leads to."""
        queue = self.get(task_id).queue

        def ask(caller: QueueCaller, left: float) -> tuple[TasksChanged, bool]:
            return caller.ask_queue(queue, request, TasksChanged, left)

        (answer, an_owner_died), the_server_died = self.connection.ask(ask)
        if task_id not in answer.changed:
            state = answer.unchanged.get(task_id, "")
            if not state:
                raise TaskNotFound(task_id)
            # What died may have done it before.
            if not ((an_owner_died or the_server_died) and state in wanted):
                raise WrongState(task_id, state)
        return self.get(task_id)

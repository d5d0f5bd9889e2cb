"""LocalClient and Client with a real server whose processes are killed under them."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from callboard.actors import Backoff, Client, LocalClient, TaskRequest
from callboard.actors.errors import (
    InvalidOption,
    RequestRefused,
    RequestTimedOut,
    ServerNotRunning,
    TaskNotFound,
    WrongState,
)
from callboard.actors.options import BackoffStrategy
from callboard.actors.store import Store, TaskFilter
from callboard.actors.task import TaskState
from tests.support.polling import eventually
from tests.support.serving import Server

SHORT = {"timeout": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "var") as running:
        yield running


@pytest.fixture(params=["local", "http"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[LocalClient | Client]:
    with LocalClient(server.data_dir) if request.param == "local" else Client(server.runtime().http) as made:
        yield made


def test_a_task_is_submitted_waited_for_and_read(client: LocalClient | Client) -> None:
    submitted = client.enqueue("sleep", SHORT, priority="high", max_retries=1)
    assert (submitted.state, submitted.priority, submitted.max_retries) == (TaskState.AVAILABLE, 1, 1)
    ended = client.wait(submitted.id, 30)
    assert (ended.id, ended.state, ended.attempt, ended.context) == (submitted.id, TaskState.COMPLETED, 1, SHORT)
    assert client.get(submitted.id) == ended


def test_a_waiting_task_is_changed_and_moved(client: LocalClient | Client) -> None:
    task = client.enqueue("sleep", SHORT, delay=600)
    assert client.update(task.id, priority=7).priority == 7
    moved = client.update(task.id, queue="dead_letter", priority="high", delay=900)
    assert (moved.queue, moved.priority, moved.state) == ("dead_letter", 1, TaskState.SCHEDULED)
    assert moved.run_at > task.run_at
    back = client.update(task.id, queue="sleep", run_at=datetime.now(UTC))
    assert (back.queue, client.wait(task.id, 30).state) == ("sleep", TaskState.COMPLETED)
    with pytest.raises(WrongState):
        client.update(task.id, priority=1)
    with pytest.raises(InvalidOption, match="type") as refused:
        client.update(client.enqueue("sleep", SHORT, delay=600).id, queue="default")
    assert refused.value.field == "queue"
    for wrong in ({}, {"delay": 1, "run_at": datetime.now(UTC)}, {"run_at": datetime(2026, 1, 1)}, {"prio": 1}):  # noqa: DTZ001
        with pytest.raises(InvalidOption):
            client.update(task.id, **wrong)


def test_many_tasks_for_several_queues_come_back_in_order(client: LocalClient | Client) -> None:
    queues = ["sleep", "dead_letter", "sleep", "dead_letter"]
    tasks = client.enqueue_many([TaskRequest(queue=queue, context=SHORT) for queue in queues])
    assert [task.queue for task in tasks] == queues
    assert [client.get(task.id).queue for task in tasks] == queues


def test_the_same_key_gives_the_same_tasks_and_refuses_others(client: LocalClient | Client) -> None:
    key = f"key of {type(client).__name__}"
    wanted = [TaskRequest(queue="sleep", context=SHORT), TaskRequest(queue="dead_letter")]
    first = client.enqueue_many(wanted, idempotency_key=key)
    again = client.enqueue_many(wanted, idempotency_key=key)
    assert [task.id for task in again] == [task.id for task in first]
    with pytest.raises(RequestRefused) as refused:
        client.enqueue_many([{"queue": "sleep", "context": {}}, {"queue": "dead_letter"}], idempotency_key=key)
    assert refused.value.reason == "key_conflict"


def test_the_keys_of_local_clients_are_their_own(server: Server) -> None:
    with LocalClient(server.data_dir) as local, Client(server.runtime().http) as http:
        mine = local.enqueue("dead_letter", SHORT, idempotency_key="zz2")
        # Under such a key it would be found if the store told them apart by their texts alone.
        other = http.enqueue("dead_letter", {"n": 2}, idempotency_key="zz2-0")
        assert other.id != mine.id
        assert local.enqueue("dead_letter", SHORT, idempotency_key="zz2").id == mine.id
        assert http.enqueue("dead_letter", {"n": 2}, idempotency_key="zz2-0").id == other.id


BAD = [
    # a bad task, the option that is blamed
    ({"queue": "slep"}, "queue"),
    ({"queue": "sleep", "type": "nosuch"}, "type"),
    ({"queue": "sleep", "max_retries": 100}, "max_retries"),
    ({"queue": "sleep", "max_retries": "3"}, "max_retries"),
    ({"queue": "sleep", "max_retries": True}, "max_retries"),
    ({"queue": "sleep", "max_attempts": 101}, "max_attempts"),
    ({"queue": "sleep", "max_attempts": 3, "max_retries": 3}, "max_attempts"),
    ({"queue": "sleep", "priority": "urgent"}, "priority"),
    ({"queue": "sleep", "backoff_ms": -1}, "backoff_ms"),
    ({"queue": "sleep", "backoff_ms": 1.5}, "backoff_ms"),
    ({"queue": "sleep", "timeout": "soon"}, "timeout"),
    ({"queue": "sleep", "context": [1]}, "context"),
    ({"queue": "sleep", "run_at": "soon"}, "run_at"),
    ({"queue": "sleep", "backoff": {"strategy": "wild"}}, "backoff.strategy"),
    ({"queue": "sleep", "backoff": {"base_ms": -1}}, "backoff.base_ms"),
    ({"queue": "sleep", "delay": -1}, "delay"),
    ({"queue": "sleep", "context": {"a": float("inf")}}, "context"),
]


@pytest.mark.parametrize(("task", "field"), BAD)
def test_one_bad_task_is_named_and_none_is_stored(
    client: LocalClient | Client, server: Server, task: dict[str, object], field: str
) -> None:
    newest = ("tasks", "--queue", "dead_letter", "--limit", "1", "--json")
    before = server.type(*newest).json
    with pytest.raises(InvalidOption) as refused:
        client.enqueue_many([{"queue": "dead_letter"}, task])
    assert refused.value.field == field
    assert server.type(*newest).json == before


def test_cancel_and_retry_need_the_right_state(client: LocalClient | Client) -> None:
    later = client.enqueue("sleep", SHORT, delay="1h")
    assert later.state is TaskState.SCHEDULED
    assert client.cancel(later.id).state is TaskState.CANCELLED
    with pytest.raises(WrongState) as conflict:
        client.cancel(later.id)
    assert conflict.value.state == "cancelled"
    assert client.retry(later.id).state in {TaskState.AVAILABLE, TaskState.EXECUTING, TaskState.COMPLETED}
    for change in (client.get, client.cancel, client.retry):
        with pytest.raises(TaskNotFound):
            change("0199f1c2-7a4e-7c01-9b0e-3c4f8d2a6e15")


def test_attempts_are_another_spelling_of_retries(client: LocalClient | Client) -> None:
    (first, second) = client.enqueue_many([{"queue": "dead_letter", "max_attempts": 5}, TaskRequest(queue="dead_letter")])
    assert (first.max_retries, second.max_retries) == (4, 3)
    assert client.enqueue("dead_letter", max_attempts=1, max_retries=0).max_retries == 0


def test_a_moment_and_a_backoff_may_be_written_as_in_http(client: LocalClient | Client) -> None:
    backoff = {"strategy": "exponential", "base_ms": 5}
    task = client.enqueue("sleep", SHORT, run_at="2030-01-01T00:00:00Z", backoff=backoff)
    assert (task.run_at, task.backoff) == (1_893_456_000_000_000, Backoff(BackoffStrategy.EXPONENTIAL, 5))
    assert client.update(task.id, run_at="2031-01-01T00:00:00+01:00").run_at == 1_924_988_400_000_000
    client.cancel(task.id)


@pytest.mark.parametrize("key", ["é", "\n", "k" * 256, 5])
def test_a_key_that_no_header_can_hold_is_refused(client: LocalClient | Client, key: Any) -> None:
    for call in (client.enqueue, client.dequeue):
        with pytest.raises(InvalidOption) as refused:
            call("dead_letter", idempotency_key=key)
        assert refused.value.field == "idempotency_key"


@pytest.mark.parametrize("task_id", ["", ".", "..", "\ud800", "no-id", 5, None])
def test_what_is_no_id_is_no_tasks(client: LocalClient | Client, task_id: Any) -> None:
    for call in (client.get, client.wait, client.retry, client.cancel):
        with pytest.raises(TaskNotFound):
            call(task_id)


@pytest.mark.parametrize(("call", "field"), [({"queue": ""}, "queue"), ({"queue": "dead_letter", "max": "5"}, "max")])
def test_what_can_not_be_fetched_is_named(client: LocalClient | Client, call: Any, field: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        client.dequeue(**call)
    assert refused.value.field == field


def test_an_id_may_be_written_in_any_way(client: LocalClient | Client) -> None:
    task_id = client.enqueue("dead_letter").id
    for written in (task_id.upper(), task_id.replace("-", ""), f"{{{task_id}}}"):
        assert client.get(written).id == task_id
        assert client.update(written, priority=3).priority == 3
        assert client.cancel(written).state is TaskState.CANCELLED
        assert client.wait(written, 1).id == task_id
        assert client.retry(written).state is TaskState.AVAILABLE


def test_waiting_has_an_end(client: LocalClient | Client) -> None:
    later = client.enqueue("sleep", SHORT, delay="1h")
    with pytest.raises(RequestTimedOut, match="still scheduled"):
        client.wait(later.id, 0.2)
    client.cancel(later.id)


def test_queues_look_the_same_from_both_sides(client: LocalClient | Client, server: Server) -> None:
    with LocalClient(server.data_dir) as local:
        expected = [(queue["name"], sorted(queue)) for queue in local.queues()]
    if isinstance(client, Client):
        assert [(queue["name"], sorted(queue)) for queue in client.queues()] == expected
    assert [name for name, _ in expected] == ["dead_letter", "default", "sleep"]


def test_a_full_queue_refuses(server: Server) -> None:
    server.type("queue", "create", "small", "--set", "max_length=2", "--concurrency", "0")
    with LocalClient(server.data_dir) as client:
        client.enqueue_many([{"queue": "small"}] * 2)
        with pytest.raises(RequestRefused) as refused:
            client.enqueue("small")
    assert refused.value.reason == "full"


def test_where_no_server_runs_a_local_client_can_not_be_made(tmp_path: Path) -> None:
    with pytest.raises(ServerNotRunning, match=f"callboard serve --data-dir {tmp_path}"):
        LocalClient(tmp_path)
    for stale in ("4194305\n", "nonsense"):  # no pid is that large; a claim cut short by a full disk
        (tmp_path / "lock").write_text(stale)
        with pytest.raises(ServerNotRunning):
            LocalClient(tmp_path)


def names_of_all(store: Store) -> Counter[str]:
    """Count the names that this test has given to tasks of the queue sleep."""
    names: Counter[str] = Counter()
    cursor: str | None = None
    while True:
        page = store.page(TaskFilter("sleep"), 1_000, cursor)
        names.update(task.context["name"] for task in page.tasks)
        cursor = page.next_cursor
        if cursor is None:
            return names


@pytest.mark.slow
def test_no_death_of_any_process_loses_or_doubles_a_submission(tmp_path: Path) -> None:
    """Both clients submit one task after the other, while what they talk to is killed under them."""
    accepted: Counter[str] = Counter()
    failures: list[BaseException] = []
    stop = threading.Event()

    def submit(client: LocalClient | Client, name: str) -> None:
        try:
            number = 0
            while not stop.is_set():
                accepted[client.enqueue("sleep", {"timeout": 0, "name": f"{name} {number}"}).id] += 1
                number += 1
        except BaseException as error:  # noqa: BLE001 - the test fails with it below
            failures.append(error)

    def grown(reached: int) -> bool:
        return len(accepted) > reached + 50 or bool(failures)

    with Server(tmp_path / "var") as server:
        clients: list[LocalClient | Client] = [LocalClient(server.data_dir), Client(server.runtime().http)]
        threads = [threading.Thread(target=submit, args=(client, type(client).__name__)) for client in clients]
        for thread in threads:
            thread.start()
        local = clients[0]
        assert isinstance(local, LocalClient)
        for victim in ("server", "registry", "admin", "sleep"):
            reached = len(accepted)
            eventually(partial(grown, reached))
            if victim == "sleep":
                os.kill(next(queue["pid"] for queue in clients[1].queues() if queue["name"] == victim), signal.SIGKILL)
            else:
                server.kill(victim)
        reached = len(accepted)
        eventually(partial(grown, reached))
        stop.set()
        for thread in threads:
            thread.join(30)
        assert failures == []
        stored = names_of_all(local.connection.store)
        assert {name: times for name, times in stored.items() if times > 1} == {}
        assert sum(stored.values()) == len(accepted)
        for client in clients:
            client.close()

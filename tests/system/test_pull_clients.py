"""Client, AsyncClient and LocalClient as consumers of a real server."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from callboard.actors import AsyncClient, ClaimedTask, Client, LocalClient
from callboard.actors.errors import InvalidOption, StaleClaim, TaskNotFound
from tests.support.killing import kill
from tests.support.polling import eventually
from tests.support.server import Server

CONFIG = '[queues.pull]\nbackoff = { base = "0" }\n[queues.other]\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), CONFIG) as running:
        yield running


@pytest.fixture(params=["local", "http"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[LocalClient | Client]:
    with LocalClient(server.data_dir) if request.param == "local" else Client(server.url) as made:
        yield made


@dataclass
class Kept:
    """What a program may keep of a fetched task."""

    id: str
    claim: str


def test_tasks_are_fetched_acknowledged_failed_and_kept_alive(client: LocalClient | Client) -> None:
    ids = [client.enqueue("pull", {"n": n}).id for n in range(3)]
    good, bad, slow = client.dequeue("pull", max=5, lease="20s", consumer="me")
    assert isinstance(good, ClaimedTask)
    assert ([good.id, bad.id, slow.id], good.state, good.attempt, good.context) == (ids, "executing", 1, {"n": 0})
    assert client.ack(Kept(good.id.upper(), good.claim), {"made": [1]}).result == {"made": [1]}
    failed = client.fail(bad, "no", discard=True)
    assert (failed.state, failed.errors[0]["message"]) == ("dead", "no")
    assert client.heartbeat(slow, 0.05).state == "executing"
    eventually(lambda: client.get(slow.id).errors)
    with pytest.raises(StaleClaim) as stale:
        client.ack(slow)
    assert stale.value.task_id == slow.id
    (again,) = eventually(lambda: client.dequeue("pull"))
    assert client.fail(again, "never mind", discard=True).attempt == 2
    assert client.dequeue("pull") == []


def test_many_are_acknowledged_in_one_go(client: LocalClient | Client) -> None:
    client.enqueue_many([{"queue": queue} for queue in ("pull", "other") for _ in range(600)])
    tasks = client.dequeue("pull", max=1_000) + client.dequeue("other", max=1_000)
    ends = [(task, {"place": place}) for place, task in enumerate(tasks)]
    assert len(ends) == 1_200
    strangers = [(Kept(tasks[0].id, "nonsense"), None), (Kept(tasks[0].id, f"pull:1:{tasks[-1].id}"), None)]
    assert client.ack_many([*ends, *strangers]) == ["done"] * 1_200 + ["unknown"] * 2
    assert [client.get(tasks[place].id).result for place in (0, 1_199)] == [{"place": 0}, {"place": 1_199}]
    assert client.ack_many([]) == []


def test_a_consumer_waits_for_a_task(client: LocalClient | Client, server: Server) -> None:
    found: list[ClaimedTask] = []
    waiter = threading.Thread(target=lambda: found.extend(client.dequeue("pull", wait="30s")))
    with Client(server.url) as other:
        assert other.dequeue("pull", wait=0.05) == []
        waiter.start()
        task = other.enqueue("pull")
        waiter.join(30)
    assert [one.id for one in found] == [task.id]
    client.ack(found[0])


def test_the_same_key_gets_the_same_tasks(client: LocalClient | Client) -> None:
    client.enqueue_many([{"queue": "pull"}] * 2)
    key = f"key of {type(client).__name__}"
    first = client.dequeue("pull", idempotency_key=key)
    assert client.dequeue("pull", idempotency_key=key) == first
    (second,) = client.dequeue("pull", idempotency_key=f"{key} 2")
    assert client.ack_many([(task, None) for task in (*first, second)]) == ["done"] * 2


BAD = [
    # what is asked for, the option that is blamed
    ({"max": 0}, "max"),
    ({"max": 1_001}, "max"),
    ({"lease": "25h"}, "lease"),
    ({"lease": 0}, "lease"),
    ({"lease": "soon"}, "lease"),
    ({"wait": -1}, "wait"),
    ({"consumer": "x" * 201}, "consumer"),
    ({"consumer": "a\nb"}, "consumer"),
    ({"queue": "pul"}, "queue"),
]


@pytest.mark.parametrize(("wanted", "blamed"), BAD)
def test_a_bad_option_is_named(client: LocalClient | Client, wanted: dict[str, object], blamed: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        client.dequeue(**({"queue": "pull"} | wanted))  # type: ignore[arg-type]
    assert refused.value.field == blamed


def test_what_can_not_be_said_is_refused(client: LocalClient | Client) -> None:
    client.enqueue("pull")
    (task,) = client.dequeue("pull")
    for result in (float("nan"), object(), "x" * 1_000_000):
        with pytest.raises(InvalidOption) as refused:
            client.ack(task, result)
        assert refused.value.field == "result"
    with pytest.raises(InvalidOption) as refused:
        client.fail(task, "")
    assert refused.value.field == "error"
    with pytest.raises(TaskNotFound):
        client.ack(Kept("01a20106-c54e-7409-b381-699d31232076", task.claim))
    with pytest.raises(StaleClaim):
        client.ack(Kept(task.id, "nonsense"))
    client.ack(task)


def test_a_consumer_does_not_notice_that_the_queue_dies(client: LocalClient | Client, server: Server) -> None:
    client.enqueue_many([{"queue": "pull"}] * 3)
    for _ in range(3):
        kill(server.owner("pull"))
        (task,) = client.dequeue("pull")
        kill(server.owner("pull"))
        assert client.heartbeat(task).attempt == 1
        assert client.ack(task, 1).result == 1


def test_an_asyncio_program_fetches_tasks(server: Server) -> None:
    async def work() -> list[str]:
        async with AsyncClient(server.url) as client:
            await client.enqueue_many([{"queue": "pull", "context": {"n": n}} for n in range(4)])
            first, *rest = await client.dequeue("pull", max=4, lease="30s", wait=1)
            failed = await client.fail(first, "no", discard=True)
            beaten = await client.heartbeat(rest[0])
            done = await client.ack(rest[0], 7)
            outcomes = await client.ack_many([(task, None) for task in rest])
            return [str(failed.state), str(beaten.state), str(done.state), *outcomes]

    assert asyncio.run(work()) == ["dead", "executing", "completed", "done", "done", "done"]

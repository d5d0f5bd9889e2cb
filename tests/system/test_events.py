"""Events of a real server: complete, in order, and harmless to the queues whatever subscribers do."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors import LocalClient, processes
from callboard.actors.processes import Ident
from tests.support.following import WHOLE, Heard, curl
from tests.support.killing import kill, stopped
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server

CONFIG = f"""
[queues.noop]
worker = "callboard.actors.bench.tasks:noop"
concurrency = 2
[queues.work]
worker = "{PATH}"
concurrency = 1
backoff = {{ strategy = "fixed", base = "50ms" }}
[queues.other]
worker = "{PATH}"
concurrency = 1
"""
MANY = 10_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), CONFIG) as server:
        yield server


@pytest.fixture
def local(server: Server) -> Iterator[LocalClient]:
    with LocalClient(server.data_dir, timeout=40) as client:
        yield client


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def events_actor(local: LocalClient) -> Ident:
    found = local.control.events()
    return Ident(found.pid, found.started)


def test_two_subscribers_see_everything_that_happens_to_ten_thousand_tasks(server: Server, local: LocalClient) -> None:
    with server.client() as client, client.subscribe(["noop"]) as over_http, local.subscribe() as by_messages:
        heard = [Heard(over_http), Heard(by_messages)]
        ids = {task.id for task in client.enqueue_many([{"queue": "noop"}] * MANY)}
        for one in heard:
            one.until(lambda one: len(one.events) >= 3 * MANY)
            assert one.missing() == []
            assert one.by_task() == dict.fromkeys(ids, WHOLE)
            numbers = [int(event.id.rpartition("-")[2]) for event in one.events]
            assert numbers == list(range(numbers[0], numbers[0] + 3 * MANY))
            for event in one.events:
                assert (event.queue, event.correlation_id, event.attempt) == (
                    "noop",
                    event.task_id,
                    event.kind != "enqueued",
                )
                assert event.latency_ms is not None


def test_a_stopped_subscriber_changes_nothing_for_the_queues(server: Server, local: LocalClient, tmp_path: Path) -> None:
    count = 3_000
    with server.client() as client, curl(tmp_path / "stopped", server.url) as sleeper, local.subscribe(["noop"]) as reading:
        heard = Heard(reading)
        os.kill(sleeper.process.pid, signal.SIGSTOP)
        # Much more than fits into the buffers between.
        for _ in range(3):
            ids = [task.id for task in client.enqueue_many([{"queue": "noop"}] * count)]
            assert client.wait(ids[-1], timeout=30).state == "completed"
        heard.until(lambda heard: len(heard.events) >= 9 * count)
        assert heard.missing() == []
        assert server.queue("noop")["state"] == "running"
        os.kill(sleeper.process.pid, signal.SIGCONT)
        eventually(lambda: sleeper.text().count("event: completed") >= 3 * count, within=30)
        assert [event.kind for event in sleeper.events() if not event.task_id] == []


def test_a_killed_subscriber_leaves_the_others_alone(server: Server, local: LocalClient, tmp_path: Path) -> None:
    with server.client() as client, local.subscribe(["noop"]) as reading:
        heard = Heard(reading)
        with curl(tmp_path / "killed", server.url):
            client.enqueue("noop")
        task = client.enqueue("noop")
        heard.until(lambda heard: heard.kinds(task.id) == WHOLE)


def test_how_an_attempt_ended_and_what_became_of_its_task_are_two_events(
    server: Server, local: LocalClient, ledger: Ledger
) -> None:
    with local.subscribe(["work"]) as reading, server.client() as client:
        heard = Heard(reading)
        doomed = client.enqueue("work", ledger.context(fail=True), max_retries=1)
        late = client.enqueue("work", ledger.context(until="/nowhere"), max_retries=0, timeout="300ms")
        running = client.enqueue("work", ledger.context(until="/nowhere"))
        waiting = client.enqueue("work", ledger.context(), delay="1h")
        heard.until(lambda heard: "started" in heard.kinds(running.id))
        client.cancel(waiting.id)
        client.cancel(running.id)
        crashed = client.enqueue("work", ledger.context(until="/nowhere"), max_retries=0)
        heard.until(lambda heard: "started" in heard.kinds(crashed.id))
        os.kill(ledger.running()[-1].pid, signal.SIGKILL)
        heard.until(lambda heard: "dead" in heard.kinds(crashed.id))
        client.retry(crashed.id)
        client.cancel(crashed.id)
        heard.until(lambda heard: heard.kinds(crashed.id)[-1] == "cancelled")
        failing = ("failed", "retry_scheduled", "due", "started", "failed", "dead")
        assert heard.kinds(doomed.id) == ("enqueued", "started", *failing)
        assert heard.kinds(late.id) == ("enqueued", "started", "timed_out", "dead")
        assert heard.kinds(running.id) == ("enqueued", "started", "cancelled")
        assert heard.kinds(waiting.id) == ("enqueued", "cancelled")
        assert heard.kinds(crashed.id)[:5] == ("enqueued", "started", "crashed", "dead", "retried")
        (crash,) = [event for event in heard.events if event.kind == "crashed"]
        assert (crash.detail["kind"], crash.detail["exit"]) == ("crash", "SIGKILL")
        assert {event.queue for event in heard.events} == {"work"}


def test_a_subscriber_that_comes_back_goes_on_where_it_was(server: Server, local: LocalClient, tmp_path: Path) -> None:
    with server.client() as client:
        with client.subscribe(["noop"]) as first:
            before = client.enqueue("noop")
            assert [next(first).kind for _ in range(3)] == list(WHOLE)
            last = first.last_id
        meanwhile = client.enqueue("noop")
        assert last is not None
        for again in (client.subscribe(["noop"], last_id=last), local.subscribe(["noop"], last_id=last)):
            with again:
                assert [next(again).task_id for _ in range(3)] == [meanwhile.id] * 3
        with curl(tmp_path / "again", server.url, "--header", f"Last-Event-ID: {last}") as browser:
            eventually(lambda: len(browser.events()) >= 3)
            assert before.id not in browser.text()
        with client.subscribe(last_id="0.0-5") as stranger:
            gap = next(stranger)
            assert (gap.kind, gap.detail["missed"]) == ("gap", None)


def test_a_killed_owner_leaves_a_gap_and_its_successor_tells_on(server: Server, local: LocalClient, ledger: Ledger) -> None:
    with server.client() as client, local.subscribe() as reading:
        heard = Heard(reading)
        task = client.enqueue("other", ledger.context(until=str(ledger.path.with_name("gate"))))
        heard.until(lambda heard: "started" in heard.kinds(task.id))
        kill(server.owner("other"))
        heard.until(lambda heard: "interrupted" in heard.kinds(task.id))
        ledger.path.with_name("gate").touch()
        heard.until(lambda heard: "completed" in heard.kinds(task.id))
        assert heard.kinds(task.id) == ("enqueued", "started", "interrupted", "started", "completed")
        assert [(gap.queue, gap.detail["missed"]) for gap in heard.missing()] == [("other", None)]


def test_a_killed_events_actor_is_replaced_and_its_subscribers_are_told_of_the_gap(
    server: Server, local: LocalClient
) -> None:
    victim = events_actor(local)
    with server.client() as client, client.subscribe() as over_http, local.subscribe() as by_messages:
        heard = [Heard(over_http), Heard(by_messages)]
        first = client.enqueue("noop")
        for one in heard:
            one.until(lambda one: one.kinds(first.id) == WHOLE)
        kill(victim)
        assert client.wait(client.enqueue("noop").id, timeout=30).state == "completed"
        for one in heard:
            one.until(lambda one: bool(one.missing()))
        second = client.enqueue("noop")
        for one in heard:
            one.until(lambda one: one.kinds(second.id) == WHOLE)
            assert {event.id.rpartition("-")[0] for event in one.events} == {
                over_epoch(one.events[0].id),
                over_epoch(one.events[-1].id),
            }
            assert len(one.missing()) == 1
    assert events_actor(local) != victim


def over_epoch(event_id: str) -> str:
    return event_id.rpartition("-")[0]


def test_a_stopped_events_actor_holds_up_no_queue_and_is_replaced(server: Server, local: LocalClient) -> None:
    victim = events_actor(local)
    with server.client() as client, client.subscribe(["noop"]) as subscription:
        heard = Heard(subscription)
        with stopped(victim):
            for _ in range(5):
                ids = [task.id for task in client.enqueue_many([{"queue": "noop"}] * 500)]
                assert client.wait(ids[-1], timeout=30).state == "completed"
            assert processes.is_alive(victim)
            eventually(lambda: not processes.is_alive(victim), within=30)
        after = client.enqueue("noop")
        heard.until(lambda heard: heard.kinds(after.id) == WHOLE)
        assert heard.missing() != []
        # What the stopped one had not taken went to its successor.
        heard.until(lambda heard: sum(kinds == WHOLE for kinds in heard.by_task().values()) >= 2_500)


def test_events_outlive_the_server(tmp_path: Path) -> None:
    with Server(tmp_path, CONFIG) as server, server.client(60) as client, client.subscribe() as subscription:
        heard = Heard(subscription)
        before = client.enqueue("noop")
        heard.until(lambda heard: heard.kinds(before.id) == WHOLE)
        kill(server.part("server"))
        after = client.enqueue("noop")
        heard.until(lambda heard: bool(heard.missing()))
        assert client.wait(after.id, timeout=30).state == "completed"
        last = client.enqueue("noop")
        heard.until(lambda heard: heard.kinds(last.id) == WHOLE)


def test_the_server_stops_at_once_though_somebody_follows(tmp_path: Path) -> None:
    with Server(tmp_path, CONFIG) as server, curl(tmp_path / "events", server.url) as browser:
        assert server.stop() == 0
        assert browser.process.wait(10) == 0
        assert browser.text().startswith("retry:")

"""The third seed, JobQueue, where it is about events: each test is named for its line of the conformance list."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from callboard.actors import AsyncClient, Client, Event, LocalClient, TaskState
from callboard.actors.errors import InvalidOption, RequestRefused, RequestTimedOut
from callboard.actors.subscription import Subscription
from tests.support.ledger import PATH, Ledger
from tests.support.server import Server

CONFIG = f"""
[queues.topic]
worker = "{PATH}"
concurrency = 1
backoff = {{ strategy = "fixed", base = "50ms" }}
[queues.aside]
worker = "{PATH}"
concurrency = 1
"""


def await_event(events: Iterator[Event], task_id: str, kind: str) -> Event:
    """Wait for what happens to a task, instead of sleeping."""
    return next(event for event in events if (event.task_id, event.kind) == (task_id, kind))


def subscribed(client: Client) -> Subscription:
    return client.subscribe(["topic"], timeout=20)


def test_t13_whoever_waits_for_an_event_finds_the_store_as_it_says(client: Client, ledger: Ledger) -> None:
    gate = ledger.path.with_name("gate")
    with subscribed(client) as events:
        task = client.enqueue("topic", ledger.context(until=str(gate)))
        await_event(events, task.id, "started")
        assert len(ledger.running()) == 1
        gate.touch()
        await_event(events, task.id, "completed")
        assert client.get(task.id).state == TaskState.COMPLETED


def test_t13_failure_retry_and_death_are_broadcast(client: Client, ledger: Ledger) -> None:
    with subscribed(client) as events:
        task = client.enqueue("topic", ledger.context(fail=True), max_retries=1)
        retry = await_event(events, task.id, "retry_scheduled")
        assert retry.detail["run_at"]
        assert client.get(task.id).attempt >= 1
        dead = await_event(events, task.id, "dead")
        assert (dead.attempt, dead.correlation_id, dead.queue) == (2, task.id, "topic")
        assert client.get(task.id).state == TaskState.DEAD


def test_t13_crash_timeout_and_cancellation_are_broadcast(client: Client, ledger: Ledger) -> None:
    endless = ledger.context(until="/nowhere")
    with subscribed(client) as events:
        crashing = client.enqueue("topic", endless, max_retries=0)
        await_event(events, crashing.id, "started")
        os.kill(ledger.running()[-1].pid, signal.SIGKILL)
        crashed = await_event(events, crashing.id, "crashed")
        assert (crashed.detail["exit"], crashed.latency_ms is not None) == ("SIGKILL", True)
        late = client.enqueue("topic", endless, max_retries=0, timeout="200ms")
        timed_out = await_event(events, late.id, "timed_out")
        assert timed_out.latency_ms is not None
        assert timed_out.latency_ms >= 200
        unwanted = client.enqueue("topic", endless)
        await_event(events, unwanted.id, "started")
        client.cancel(unwanted.id)
        await_event(events, unwanted.id, "cancelled")
        assert client.get(unwanted.id).state == TaskState.CANCELLED


def test_t13_a_subscriber_hears_of_its_topics_only(client: Client, server: Server, ledger: Ledger) -> None:
    with (
        subscribed(client) as events,
        LocalClient(server.data_dir) as local,
        local.subscribe(["aside"], timeout=20) as aside,
    ):
        task, other = client.enqueue("topic", ledger.context()), client.enqueue("aside", ledger.context())
        await_event(events, task.id, "completed")
        assert [next(aside).task_id for _ in range(3)] == [other.id] * 3
        with pytest.raises(InvalidOption, match="did you mean topic"):
            local.subscribe(["topics"])
    with pytest.raises(RequestRefused, match="topics"), client.subscribe(["topics"]):
        pass


def test_t13_where_nothing_happens_a_subscriber_does_not_wait_longer_than_it_wants(client: Client, server: Server) -> None:
    with (
        LocalClient(server.data_dir) as local,
        local.subscribe(["aside"], timeout=0.2) as events,
        pytest.raises(RequestTimedOut),
    ):
        next(events)
    with client.subscribe(["aside"], timeout=0.2) as events_over_http, pytest.raises(RequestTimedOut):
        next(events_over_http)


def test_t13_asyncio_programs_can_subscribe_as_well(server: Server, ledger: Ledger) -> None:
    async def follow() -> tuple[str, list[Event]]:
        async with AsyncClient(server.url) as client, client.subscribe(["topic"], timeout=20) as events:
            task = await client.enqueue("topic", ledger.context())
            return task.id, [await anext(events) for _ in range(3)]

    task_id, events = asyncio.run(follow())
    assert [event.kind for event in events] == ["enqueued", "started", "completed"]
    assert {event.task_id for event in events} == {task_id}

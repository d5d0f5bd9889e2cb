"""What a Queue refuses: requests that were meant for another one, and owning what it can't own; as a real actor."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.messages import (
    ApplySettings,
    CancelTasks,
    DeadLetterAt,
    DeathsNoted,
    DescribeQueue,
    DrainQueue,
    EditTask,
    EventsNoted,
    PauseQueue,
    PublishEvents,
    PurgeDead,
    QueueDescribed,
    QueueGone,
    QueueNotReady,
    QueueReady,
    QueueStopped,
    RefusalReason,
    Refused,
    Report,
    ResumeQueue,
    RetryTasks,
    ScaleQueue,
    StartQueue,
    StopQueue,
    SubmitTasks,
    TaskMoved,
    WorkerReady,
)
from callboard.actors.queue_actor import QueueActor
from callboard.actors.runtime import machine_boot_id
from callboard.actors.store.opening import open_store
from callboard.actors.system import Booted
from callboard.conf.settings import QueueSettings
from tests.support.systems import booted_system, new_id, reply_to

# isort: split
from thespian.actors import ActorAddress, ActorExitRequest

QUEUE = "one"
REQUESTS: list[Callable[[str, int], Any]] = [
    lambda queue, incarnation: PauseQueue(new_id(), queue, incarnation),
    lambda queue, incarnation: ResumeQueue(new_id(), queue, incarnation),
    lambda queue, incarnation: DrainQueue(new_id(), queue, incarnation),
    lambda queue, incarnation: ScaleQueue(new_id(), queue, incarnation, 7),
    lambda queue, incarnation: DescribeQueue(new_id(), queue, incarnation),
    lambda queue, incarnation: SubmitTasks(new_id(), queue, incarnation, 1, ()),
    lambda queue, incarnation: CancelTasks(new_id(), queue, incarnation, ("an-id",)),
    lambda queue, incarnation: RetryTasks(new_id(), queue, incarnation, ("an-id",)),
    lambda queue, incarnation: EditTask(new_id(), queue, incarnation, "an-id", priority=3),
    lambda queue, incarnation: PurgeDead(new_id(), queue, incarnation),
]
NEWS: list[Any] = [
    PublishEvents(None),
    EventsNoted(1),
    DeadLetterAt(None),
    DeathsNoted(1),
    TaskMoved(QUEUE, 1),
    WorkerReady("w1-1", 4711),
    Report("w1-1", 1),
]
"""What others tell a Queue without asking it for anything."""


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    with booted_system(tmp_path_factory.mktemp("system")) as system:
        yield system


def start(
    booted: Booted,
    queue: ActorAddress,
    folder: Path,
    name: str = QUEUE,
    *,
    damaged: bool = False,
    within: float = 10,
) -> Any:
    """Have a Queue actor own a queue, and return what it says. damaged: the store can't be opened."""
    url = f"sqlite:///{folder}/callboard.db"
    with closing(open_store(url)) as store:
        store.put_queue(QUEUE, QueueSettings(concurrency=0).model_dump_json(), "", 1)
    if damaged:
        (folder / "callboard.db").write_text("Dear diary, " * 1_000)
    (folder / "run").mkdir(exist_ok=True)
    samples: dict[str, Any] = {}
    message = StartQueue(name, str(folder), url, machine_boot_id(), samples, "warning", "console")
    reply = booted.actor_system.ask(queue, message, within)
    # The end of the actor before this one may come first: it answers the question with nothing.
    return booted.actor_system.listen(within) if reply is None else reply


@pytest.fixture
def queue(booted: Booted) -> Iterator[ActorAddress]:
    address = booted.actor_system.createActor(QueueActor)
    yield address
    booted.actor_system.ask(address, ActorExitRequest(), 0.02)  # `tell` would try for 35 s if it is dead


def refusal(booted: Booted, queue: ActorAddress, request: Any) -> RefusalReason:
    reply = reply_to(booted, queue, request)
    assert isinstance(reply, Refused), reply
    return reply.reason


def test_a_request_for_another_queue_or_owner_is_refused_and_changes_nothing(
    booted: Booted, queue: ActorAddress, tmp_path: Path
) -> None:
    ready = start(booted, queue, tmp_path)
    assert isinstance(ready, QueueReady)
    describe = DescribeQueue(new_id(), QUEUE, ready.incarnation)
    before = reply_to(booted, queue, describe)
    assert isinstance(before, QueueDescribed)
    for make in REQUESTS:
        assert refusal(booted, queue, make(QUEUE, ready.incarnation - 1)) is RefusalReason.STALE
        assert refusal(booted, queue, make("another", ready.incarnation)) is RefusalReason.STALE
    after = reply_to(booted, queue, describe)
    assert (after.status.state, after.status.settings) == (before.status.state, before.status.settings)


def test_a_queue_drains_until_it_is_resumed(booted: Booted, queue: ActorAddress, tmp_path: Path) -> None:
    ready = start(booted, queue, tmp_path)
    drained = reply_to(booted, queue, DrainQueue(new_id(), QUEUE, ready.incarnation))
    assert drained.status.state == "draining"
    resumed = reply_to(booted, queue, ResumeQueue(new_id(), QUEUE, ready.incarnation))
    assert resumed.status.state == "running"


def test_an_owner_that_is_stopping_takes_no_requests(booted: Booted, queue: ActorAddress, tmp_path: Path) -> None:
    ready = start(booted, queue, tmp_path)
    assert reply_to(booted, queue, StopQueue(new_id(), QUEUE, 1.0)).interrupted == 0
    for make in REQUESTS:
        assert refusal(booted, queue, make(QUEUE, ready.incarnation)) is RefusalReason.SHUTTING_DOWN


def test_a_queue_that_owns_nothing_yet_refuses_everything_but_its_end(booted: Booted, queue: ActorAddress) -> None:
    for make in REQUESTS:
        assert refusal(booted, queue, make(QUEUE, 1)) is RefusalReason.STALE
    stop = StopQueue(new_id(), QUEUE, 1.0)
    assert reply_to(booted, queue, stop) == QueueStopped(stop.request_id, QUEUE, 0)


def test_news_that_come_before_a_queue_owns_anything_or_of_what_it_does_not_have_do_no_harm(
    booted: Booted, queue: ActorAddress, tmp_path: Path
) -> None:
    for news in NEWS:
        booted.actor_system.tell(queue, news)
    ready = start(booted, queue, tmp_path)
    assert isinstance(ready, QueueReady)
    for news in NEWS:
        booted.actor_system.tell(queue, news)
    described = reply_to(booted, queue, DescribeQueue(new_id(), QUEUE, ready.incarnation))
    assert (described.status.state, described.status.workers) == ("running", ())


def test_a_queue_that_was_told_to_stop_does_not_come_up_any_more(
    booted: Booted, queue: ActorAddress, tmp_path: Path
) -> None:
    stop = StopQueue(new_id(), QUEUE, 1.0)
    assert reply_to(booted, queue, stop) == QueueStopped(stop.request_id, QUEUE, 0)
    start(booted, queue, tmp_path, within=0.02)
    assert refusal(booted, queue, DescribeQueue(new_id(), QUEUE, 1)) is RefusalReason.STALE


def test_a_queue_that_can_not_own_its_tasks_says_why(booted: Booted, queue: ActorAddress, tmp_path: Path) -> None:
    said = start(booted, queue, tmp_path, damaged=True)
    assert isinstance(said, QueueNotReady)
    assert said.queue == QUEUE
    assert "this is not a database file" in said.reason


def test_a_queue_that_is_not_in_the_store_is_said_to_be_gone(booted: Booted, queue: ActorAddress, tmp_path: Path) -> None:
    assert start(booted, queue, tmp_path, name="not-in-the-store") == QueueGone("not-in-the-store")


def test_settings_that_are_older_than_its_own_change_nothing(booted: Booted, queue: ActorAddress, tmp_path: Path) -> None:
    ready = start(booted, queue, tmp_path)
    booted.actor_system.tell(queue, ApplySettings(QUEUE, ready.settings.model_copy(update={"priority": 3}), 2))
    described = reply_to(booted, queue, DescribeQueue(new_id(), QUEUE, ready.incarnation))
    assert described.status.settings.priority == 3
    booted.actor_system.tell(queue, ApplySettings(QUEUE, ready.settings, 1))
    described = reply_to(booted, queue, DescribeQueue(new_id(), QUEUE, ready.incarnation))
    assert described.status.settings.priority == 3

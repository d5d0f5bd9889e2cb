"""What `LocalClient` makes of deaths, moves and refusals in between: a real store and real owners, on a played wire."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors import local_pulling
from callboard.actors.editing import edit
from callboard.actors.errors import PartlyAccepted, TaskNotFound, WrongState
from callboard.actors.local_client import LocalClient
from callboard.actors.messages import (
    CancelTasks,
    EditTask,
    ExchangeTasks,
    FindQueue,
    Given,
    RetryTasks,
    SubmitTasks,
    TasksAccepted,
    TasksChanged,
    TasksExchanged,
)
from callboard.actors.store.opening import open_store
from callboard.conf.settings import QueueSettings
from tests.support.attached import Attached, announce, living
from tests.support.made_tasks import WALL, new_task
from tests.support.stages import Stage
from tests.support.wires import Wire, found, mortal_process

LONG = 3_600
"""Seconds: whoever waits for them to pass runs into the test's own timeout."""


class Served:
    """The queues of a server. `answers`: what is said to the next requests instead of asking the owner.

    meanwhile: what happens once the next request has been done. process: the one that the owners are in.
    """

    def __init__(self, *stages: Stage) -> None:
        self.stages = {stage.queue: stage for stage in stages}
        self.process = living()
        self.requests: list[Any] = []
        self.answers: list[Callable[[str], object]] = []
        self.meanwhile: list[Callable[[], object]] = []

    def script(self, message: Any) -> object:
        stage = self.stages[message.queue]
        if isinstance(message, FindQueue):
            known = {"queue": stage.queue, "settings": stage.owner.settings, **self.process._asdict()}
            return found(request_id=message.request_id, **known)
        self.requests.append(message)
        answer = self.answers.pop(0)(message.request_id) if self.answers else self._done(stage, message)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return answer

    def dies_after_next(self, end: Callable[[], None]) -> None:
        """Have the owners' process do one more thing and end without an answer; another one takes over."""

        def unanswered(_: str) -> None:
            message = self.requests[-1]
            self._done(self.stages[message.queue], message)
            end()
            self.process = living()

        self.answers = [unanswered]

    def _done(self, stage: Stage, message: Any) -> object:
        if isinstance(message, SubmitTasks):
            return TasksAccepted(message.request_id, tuple(stage.owner.submit(message.submissions, stage.now)))
        if isinstance(message, ExchangeTasks):
            done = stage.owner.exchange(message.settlements, message.wants, stage.now)
            return TasksExchanged(message.request_id, tuple(done.settled), tuple(done.given))
        if isinstance(message, EditTask):
            return edit(stage.owner, message, "registry", stage.now)
        if isinstance(message, RetryTasks):
            return stage.commands.retry(message.request_id, message.ids, stage.now, keep_attempts=message.keep_attempts)
        assert isinstance(message, CancelTasks)
        stage.commands.cancel(message.request_id, message.ids, "client", stage.now)
        stage.perform()
        return stage.replies.pop()[1]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server with the queues `mail` and `other`, which takes one task; nobody works in them."""
    store = open_store(announce(tmp_path, living()).store_url, clock=lambda: WALL)
    mail = Stage(tmp_path / "mail", store=store)
    other = Stage(tmp_path / "other", store=store, queue="other", settings=QueueSettings(worker="a:b", max_length=1))
    served = Served(mail, other)
    Attached(monkeypatch, Wire(served.script))
    yield served
    mail.close()
    other.close()
    store.close()


@pytest.fixture
def client(tmp_path: Path, served: Served) -> Iterator[LocalClient]:
    with LocalClient(tmp_path) as client:
        yield client


@pytest.fixture
def mail(served: Served) -> Stage:
    return served.stages["mail"]


def hurry(client: LocalClient, task_id: str) -> object:
    return client.update(task_id, priority="high")


def unknown(task_id: str) -> Callable[[str], object]:
    return lambda request_id: TasksChanged(request_id, (), {task_id: ""})


def nothing(*, more: bool = False) -> Callable[[str], object]:
    return lambda request_id: TasksExchanged(request_id, (), (Given((), more),))


def test_what_was_accepted_before_a_queue_refused_is_told(client: LocalClient, mail: Stage) -> None:
    client.enqueue("other")
    with pytest.raises(PartlyAccepted, match=r"2 tasks were accepted, then: .*max_length") as raised:
        client.enqueue_many([{"queue": "mail"}, {"queue": "other"}, {"queue": "mail"}])
    accepted = raised.value.accepted
    assert [task.queue for task in accepted] == ["mail", "mail"]
    assert [client.get(task.id).state for task in accepted] == ["available"] * 2


def test_a_task_that_somebody_moves_meanwhile_is_changed_where_it_is(
    client: LocalClient, served: Served, mail: Stage
) -> None:
    mail.submit(task := new_task())
    served.answers = [unknown(task.id)]
    move = EditTask("r", "mail", 1, task.id, to_queue="other")
    served.meanwhile = [lambda: edit(mail.owner, move, "registry", mail.now)]
    changed = client.update(task.id, priority="high")
    assert (changed.id, changed.queue, changed.priority) == (task.id, "other", 1)
    assert [request.queue for request in served.requests] == ["mail", "other"]


@pytest.mark.parametrize("change", [LocalClient.cancel, LocalClient.retry, hurry])
def test_a_task_that_its_owner_does_not_know_is_not_found(
    client: LocalClient, served: Served, mail: Stage, change: Callable[[LocalClient, str], object]
) -> None:
    mail.submit(task := new_task())
    served.answers = [unknown(task.id)]
    with pytest.raises(TaskNotFound, match=task.id):
        change(client, task.id)
    assert len(served.requests) == 1


def test_a_change_that_an_owner_has_made_before_it_died_is_made(client: LocalClient, served: Served, mail: Stage) -> None:
    mail.submit(task := new_task())
    for change, state in ((client.cancel, "cancelled"), (client.retry, "available")):
        with mortal_process() as (served.process, end):
            client.connection.ask(lambda caller, _: caller.directory.forget("mail"))
            served.dies_after_next(end)
            assert change(task.id).state == state
    assert len(served.requests) == 4
    with pytest.raises(WrongState, match="available"):
        client.retry(task.id)


def test_a_failure_that_an_owner_has_noted_before_it_died_is_told_once(
    client: LocalClient, served: Served, mail: Stage
) -> None:
    mail.submit(task := new_task())
    with mortal_process() as (served.process, end):
        (fetched,) = client.dequeue("mail")
        served.dies_after_next(end)
        failed = client.fail(fetched, "no")
    assert (failed.id, failed.state) == (task.id, "retryable")
    assert [error["message"] for error in failed.errors] == ["no"]


def test_a_consumer_that_waits_gets_a_task_as_soon_as_it_is_written(
    client: LocalClient, served: Served, mail: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_pulling, "AGAIN_SECONDS", 2 * LONG)
    task = new_task()
    served.meanwhile = [lambda: mail.submit(task)]
    assert [fetched.id for fetched in client.dequeue("mail", wait=LONG)] == [task.id]
    assert len(served.requests) == 2


def test_a_consumer_that_waits_asks_again_though_nothing_is_written(
    client: LocalClient, served: Served, mail: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_pulling, "AGAIN_SECONDS", 0.02)
    mail.submit(task := new_task())
    served.answers = [nothing(), nothing()]
    assert [fetched.id for fetched in client.dequeue("mail", wait=LONG)] == [task.id]
    assert len(served.requests) == 3


def test_a_consumer_that_is_told_that_there_may_be_more_asks_at_once(
    client: LocalClient, served: Served, mail: Stage
) -> None:
    mail.submit(task := new_task())
    served.answers = [nothing(more=True)]
    assert [fetched.id for fetched in client.dequeue("mail")] == [task.id]


def test_a_consumer_that_has_waited_in_vain_gets_nothing(client: LocalClient, served: Served) -> None:
    assert client.dequeue("mail", wait="30ms") == []
    wants = {request.wants[0].id for request in served.requests}
    assert len(wants) == 1  # one wish, however often it was said

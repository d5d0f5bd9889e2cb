"""How LocalClient has tasks stored exactly once, with a played server; and which tasks it builds."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from thespian.actors import ActorAddress

from callboard.actors.caller import QueueCaller, SettingsChanged
from callboard.actors.connection import Connection
from callboard.actors.errors import InvalidOption, RequestTimedOut, StoreUnavailable
from callboard.actors.local_submission import build_task, cut, submit
from callboard.actors.messages import Outcome, QueueFound, Submission, Verdict
from callboard.actors.options import Backoff, BackoffStrategy
from callboard.actors.request import TaskRequest
from callboard.conf.settings import QueueSettings

FOUND = QueueFound("r", "one", ActorAddress("somewhere"), os.getpid(), 0.0, 1, QueueSettings(), 1)
NOW = 1_700_000_000_000_000
ACCEPTED = Verdict(Outcome.ACCEPTED)
TIMED_OUT = RequestTimedOut("no answer")


class PlayedServer:
    """Takes the part of connection, caller and store: answers submissions as told, the last answer again and again."""

    def __init__(self, *answers: Verdict | Exception, stored: bool | Exception = False) -> None:
        self._answers = list(answers)
        self._stored = stored
        self.seen: list[Submission] = []

    @property
    def store(self) -> "PlayedServer":
        return self

    def ask(self, question: Callable[[QueueCaller, float], Any]) -> tuple[Any, bool]:
        """Attach to the next server once, as a connection does when the first one has died."""
        try:
            return question(cast("QueueCaller", self), 1.0), False
        except RequestTimedOut:
            return question(cast("QueueCaller", self), 1.0), True

    def find(self, queue: str, seconds: float) -> QueueFound:
        assert queue == FOUND.queue
        return FOUND

    def submit(self, found: QueueFound, submissions: Sequence[Submission], seconds: float) -> list[Verdict | Exception]:
        self.seen += submissions
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, SettingsChanged):
            raise answer
        return [answer]

    def get_many(self, ids: Sequence[str]) -> list[str]:
        if isinstance(self._stored, Exception):
            raise self._stored
        return list(ids) if self._stored else []

    def take(self) -> list[str]:
        """Submit one task, and return the ids that it was accepted under."""
        (part,) = cut([TaskRequest(queue="one")], "")
        return [task.id for task in submit(part, cast("Connection", self), "test")]

    def ids(self) -> list[str]:
        return [task.id for submission in self.seen for task in submission.tasks]


def test_an_accepted_task_has_the_id_that_it_was_sent_with() -> None:
    server = PlayedServer(ACCEPTED)
    assert server.take() == server.ids()


def test_tasks_are_built_again_when_the_queues_settings_have_changed() -> None:
    server = PlayedServer(SettingsChanged(FOUND), ACCEPTED)
    taken = server.take()
    first, second = server.ids()
    assert taken == [second] != [first]


def test_tasks_that_may_be_stored_keep_their_ids_whatever_changes() -> None:
    server = PlayedServer(TIMED_OUT, SettingsChanged(FOUND), ACCEPTED)
    (taken,) = server.take()
    assert server.ids() == [taken] * 3
    assert [submission.resent for submission in server.seen] == [False, True, True]


def test_without_an_answer_the_store_says_whether_a_task_was_accepted() -> None:
    server = PlayedServer(TIMED_OUT, stored=True)
    (taken,) = server.take()
    assert server.ids() == [taken] * 2


@pytest.mark.parametrize("stored", [False, StoreUnavailable("the disk is gone")])
def test_what_nobody_can_say_is_not_claimed(stored: bool | Exception) -> None:
    with pytest.raises(RequestTimedOut):
        PlayedServer(TIMED_OUT, stored=stored).take()


def test_a_key_is_none_that_http_can_have_and_goes_with_contexts_that_are_json() -> None:
    one = TaskRequest(queue="one")
    (part,) = cut([one], "order-7")
    assert not part.key.isprintable()
    assert [made.key for made in cut([one, TaskRequest(queue="two")], "order-7")] == [part.key] * 2
    with pytest.raises(InvalidOption) as refused:
        list(cut([TaskRequest(queue="one", context={"a": object()})], "order-7"))
    assert refused.value.field == "context"


def test_a_task_begins_when_it_is_asked_to_and_at_once_when_that_has_passed() -> None:
    def run_at(**options: Any) -> int:
        return build_task(TaskRequest(queue="one", **options), FOUND, "test", NOW).run_at

    assert run_at() == 0
    assert run_at(delay=0) == 0
    assert run_at(delay="2s") == NOW + 2_000_000
    assert run_at(run_at=datetime.fromtimestamp(NOW / 1e6 + 1, UTC)) == NOW + 1_000_000
    assert run_at(run_at=datetime.fromtimestamp(NOW / 1e6 - 1, UTC)) == 0


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"backoff_ms": -1}, "backoff_ms"),
        ({"backoff_ms": 10**13}, "backoff_ms"),
        ({"backoff_ms": True}, "backoff_ms"),
        ({"backoff": Backoff(base_ms=-1)}, "backoff.base_ms"),
        ({"backoff": Backoff(cap_ms=10**13)}, "backoff.cap_ms"),
        ({"backoff": Backoff(factor=0.5)}, "backoff"),
        ({"backoff": Backoff(jitter=1.5)}, "backoff"),
        ({"max_retries": "3"}, "max_retries"),
        ({"priority": "urgentest"}, "priority"),
    ],
)
def test_an_option_that_can_not_be_is_refused_under_its_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        build_task(TaskRequest(queue="one", **options), FOUND, "test", NOW)
    assert refused.value.field == field


def test_a_backoff_is_the_queues_with_another_base_or_ones_own() -> None:
    settings = QueueSettings.model_validate({"backoff": {"strategy": "linear", "base": "5s", "cap": "1m"}})
    found = replace(FOUND, settings=settings)

    def backoff(**options: Any) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(build_task(TaskRequest(queue="one", **options), found, "test", NOW).backoff)
        return made

    assert backoff(backoff_ms=7) == backoff() | {"base_ms": 7}
    assert backoff()["strategy"] == "linear"
    own = Backoff(BackoffStrategy.EXPONENTIAL, base_ms=3)
    assert backoff(backoff=own) == own.to_json()

"""What the HTTP clients send as consumers, when they send it again, and what they make of the answers."""

import json
from typing import Any

import pytest

from callboard.actors.claimed import ClaimedTask
from callboard.actors.errors import InvalidOption, StaleClaim, TaskNotFound
from callboard.actors.pull_conversations import ACKS, ACKS_BYTES
from callboard.actors.task import Task
from tests.unit.test_client_conversation import ID, NO_ANSWER, Stage, answered, refused, shown

CLAIMED = shown("executing", claim="the claim")


def dequeue(stage: Stage, **changed: Any) -> list[ClaimedTask]:
    asked: dict[str, Any] = {"wanted": 2, "lease": "5s", "wait": 0, "consumer": "", "key": "k"} | changed
    return stage.hold(stage.talk.pull.dequeue("q", **asked))


def task() -> ClaimedTask:
    return dequeue(Stage(answered([CLAIMED])))[0]


def stale() -> Any:
    return refused(409, type="urn:callboard:problem:stale-claim", detail="stale")


def test_a_dequeue_says_what_is_wanted_and_reads_the_claims() -> None:
    stage = Stage(answered([CLAIMED]))
    (found,) = dequeue(stage, consumer="me")
    (sent,) = stage.sent
    assert (sent.method, sent.path, sent.key) == ("POST", "/api/queues/q/dequeue", "k")
    assert json.loads(sent.body or b"") == {"max": 2, "lease_ms": 5_000, "consumer": "me", "wait_ms": 0}
    assert (found.id, found.claim, found.state) == (ID, "the claim", "executing")


def test_a_dequeue_whose_answer_was_lost_is_sent_again_under_its_key() -> None:
    stage = Stage(NO_ANSWER, refused(503), answered([CLAIMED]))
    assert len(dequeue(stage)) == 1
    assert [sent.key for sent in stage.sent] == ["k"] * 3


def test_a_long_wait_is_asked_for_in_parts_until_there_is_something() -> None:
    stage = Stage(answered([]), answered([]), answered([CLAIMED]), seconds_per_answer=20)
    assert len(dequeue(stage, wait="50s")) == 1
    assert [json.loads(sent.body or b"")["wait_ms"] for sent in stage.sent] == [20_000, 20_000, 10_000]


def test_a_wait_that_is_over_ends_with_nothing() -> None:
    stage = Stage(answered([]), seconds_per_answer=20)
    assert dequeue(stage, wait=30) == []
    assert len(stage.sent) == 2


def test_an_ack_whose_answer_was_lost_is_sent_again() -> None:
    stage = Stage(NO_ANSWER, answered(shown("completed", result=1)))
    done = stage.hold(stage.talk.pull.ack(task(), 1))
    assert isinstance(done, Task)
    assert [(sent.path, json.loads(sent.body or b"")) for sent in stage.sent] == [
        (f"/api/tasks/{ID}/ack", {"claim": "the claim", "result": 1})
    ] * 2


def test_a_failure_that_was_told_by_a_request_without_an_answer_is_told() -> None:
    stage = Stage(NO_ANSWER, stale(), answered(shown("retryable")))
    assert stage.hold(stage.talk.pull.fail(task(), "no", discard=False)).state == "retryable"
    assert [sent.method for sent in stage.sent] == ["POST", "POST", "GET"]


@pytest.mark.parametrize("lost", [False, True])
def test_a_stale_claim_is_told_to_whoever_acknowledges_or_beats(lost: bool) -> None:
    answers = [NO_ANSWER, stale()] if lost else [stale()]
    acking, beating = Stage(*answers), Stage(*answers)
    with pytest.raises(StaleClaim):
        acking.hold(acking.talk.pull.ack(task(), None))
    with pytest.raises(StaleClaim):
        beating.hold(beating.talk.pull.heartbeat(task(), "5s"))


def test_a_failure_is_refused_at_once_when_the_claim_is_stale() -> None:
    stage = Stage(stale())
    with pytest.raises(StaleClaim):
        stage.hold(stage.talk.pull.fail(task(), "no", discard=False))


def test_unknown_tasks_and_queues_are_named() -> None:
    stage = Stage(refused(404, type="urn:callboard:problem:not-found"))
    with pytest.raises(TaskNotFound):
        stage.hold(stage.talk.pull.ack(task(), None))
    stage = Stage(refused(404, type="urn:callboard:problem:unknown-queue", detail="unknown queue 'q'"))
    with pytest.raises(InvalidOption, match="unknown queue"):
        dequeue(stage)


def test_acks_go_in_as_few_requests_as_the_server_takes() -> None:
    many = [(task(), None)] * (ACKS + 1)
    stage = Stage(*(answered([{"claim": "c", "outcome": "done"}] * count) for count in (ACKS, 1)))
    assert stage.hold(stage.talk.pull.ack_many(many)) == ["done"] * (ACKS + 1)
    large = [(task(), "x" * (ACKS_BYTES // 2))] * 3
    stage = Stage(*(answered([{"claim": "c", "outcome": "done"}]) for _ in range(3)))
    assert len(stage.hold(stage.talk.pull.ack_many(large))) == 3
    assert len(stage.sent) == 3

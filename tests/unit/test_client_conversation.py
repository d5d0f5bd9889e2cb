"""When the HTTP clients send again, wait and give up: conversations without a server, on a clock of their own."""

import json
import random
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from callboard.actors.conversation import Answer, Conversation, Lost, Pause, Send
from callboard.actors.conversations import BATCH_BYTES, Conversations
from callboard.actors.errors import (
    CallboardError,
    InvalidOption,
    PartlyAccepted,
    RequestRefused,
    RequestTimedOut,
    ServerNotRunning,
    TaskNotFound,
    WrongState,
)
from callboard.actors.options import Backoff
from callboard.actors.request import TaskRequest
from callboard.actors.resending import LONGEST_WAIT_SECONDS, Loss, wait_before_next
from callboard.actors.task import Task, TaskState

T = TypeVar("T")
REFUSED_CONNECTION = Lost(Loss.NOT_SENT, "connection refused")
NO_ANSWER = Lost(Loss.ANSWER_LOST, "reset by peer")
ID = "0199f1c2-7a4e-7c01-9b0e-3c4f8d2a6e15"


def shown(state: str = "available", **changed: Any) -> dict[str, Any]:
    moment = "2026-01-31T09:15:00.250Z"
    task = {
        "id": ID, "queue": "q", "type": "T", "state": state, "priority": "low", "context": {}, "attempt": 0,
        "max_retries": 3, "backoff_ms": 1_000, "timeout_ms": 60_000, "run_at": moment, "created_at": moment,
        "started_at": None, "finished_at": None, "errors": [], "result": None, "meta": {},
    }  # fmt: skip
    return task | changed


def answered(data: Any, status: int = 200, retry_after: str | None = None) -> Answer:
    return Answer(status, json.dumps({"data": data}).encode(), retry_after)


def refused(status: int, retry_after: str | None = None, **problem: Any) -> Answer:
    return Answer(status, json.dumps({"title": "No", "status": status} | problem).encode(), retry_after)


class Stage:
    """Plays the server in a conversation: answers come from a list, time passes only by pauses and by sending."""

    def __init__(self, *answers: Answer | Lost, seconds_per_answer: float = 0.0, timeout: float = 30.0) -> None:
        self.answers = list(answers)
        self.now = 1_000.0
        self.seconds_per_answer = seconds_per_answer
        self.sent: list[Send] = []
        self.paused: list[float] = []
        self.talk = Conversations("http://here", timeout, clock=lambda: self.now, rng=random.Random(1))

    def hold(self, conversation: Conversation[T]) -> T:
        came: Answer | Lost | None = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                self.paused.append(step.seconds)
                self.now += step.seconds
                came = None
            else:
                self.sent.append(step)
                self.now += self.seconds_per_answer
                came = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def enqueue(self) -> Task:
        return self.hold(self.talk.enqueue(TaskRequest(queue="q"), None))


SAFE_TO_REPEAT = [REFUSED_CONNECTION, NO_ANSWER, refused(429), refused(503), refused(502), refused(504)]


@pytest.mark.parametrize("failure", SAFE_TO_REPEAT)
def test_a_submission_is_sent_again_under_the_same_key(failure: Answer | Lost) -> None:
    stage = Stage(failure, failure, answered(shown(), 201))
    assert stage.enqueue().id == ID
    assert len(stage.sent) == 3
    assert len({step.key for step in stage.sent}) == 1
    assert stage.sent[0].key
    assert len({step.body for step in stage.sent}) == 1


def test_two_submissions_have_two_keys() -> None:
    stage = Stage(answered(shown(), 201))
    stage.enqueue()
    stage.enqueue()
    assert len({step.key for step in stage.sent}) == 2


def test_a_key_of_ones_own_is_used() -> None:
    stage = Stage(answered(shown(), 201))
    stage.hold(stage.talk.enqueue(TaskRequest(queue="q"), "mine"))
    assert stage.sent[0].key == "mine"


def test_a_retry_is_sent_again_only_if_it_was_never_sent() -> None:
    stage = Stage(REFUSED_CONNECTION, refused(503), answered(shown()))
    assert stage.hold(stage.talk.retry(ID, keep_attempts=False)).id == ID
    stage = Stage(NO_ANSWER, answered(shown()))
    with pytest.raises(RequestTimedOut, match="may have been done"):
        stage.hold(stage.talk.retry(ID, keep_attempts=True))
    assert len(stage.sent) == 1


def test_a_cancellation_whose_answer_was_lost_is_found_done() -> None:
    conflict = refused(409, state="cancelled", detail="Task is cancelled.")
    stage = Stage(NO_ANSWER, conflict, answered(shown("cancelled")))
    assert stage.hold(stage.talk.cancel(ID)).state is TaskState.CANCELLED
    with pytest.raises(WrongState):
        Stage(conflict).hold(stage.talk.cancel(ID))


def test_pauses_grow_and_retry_after_is_obeyed() -> None:
    stage = Stage(*[REFUSED_CONNECTION] * 9, refused(429, retry_after="7"), answered(shown()))
    stage.enqueue()
    growing, obeyed = stage.paused[:-1], stage.paused[-1]
    assert growing[0] <= 0.05
    assert max(growing) <= LONGEST_WAIT_SECONDS
    assert growing[-1] >= LONGEST_WAIT_SECONDS / 2
    assert obeyed == 7


ENDINGS = [
    # what goes on until the end, the error then
    (REFUSED_CONNECTION, ServerNotRunning),
    (NO_ANSWER, RequestTimedOut),
    (refused(503, detail="The store is down."), RequestRefused),
    (refused(429), RequestRefused),
    (refused(502), RequestRefused),
]


@pytest.mark.parametrize(("failure", "error"), ENDINGS)
def test_a_question_is_given_up_at_its_deadline(failure: Answer | Lost, error: type[CallboardError]) -> None:
    stage = Stage(failure, timeout=10.0)
    with pytest.raises(error):
        stage.enqueue()
    assert 1_007.0 <= stage.now <= 1_010.0
    assert all(step.timeout <= 10.0 for step in stage.sent)


def test_one_attempt_does_not_use_up_all_the_time() -> None:
    stage = Stage(NO_ANSWER, answered(shown()), seconds_per_answer=20.0, timeout=60.0)
    stage.enqueue()
    assert [step.timeout for step in stage.sent] == [20.0, 20.0]


FINAL = [
    # answer, error, its fields
    (refused(400, errors={"queue": ["can't be blank"]}), InvalidOption, {"field": "queue"}),
    (refused(400, errors={"options": {"max_retries": ["a"], "priority": ["b"]}}), InvalidOption, {"field": "max_retries"}),
    (refused(400, detail="not JSON"), InvalidOption, {"field": ""}),
    (refused(401), RequestRefused, {"reason": "unauthorized"}),
    (refused(413), RequestRefused, {"reason": "too_large"}),
    (refused(422), RequestRefused, {"reason": "key_conflict"}),
    (refused(500), RequestRefused, {"reason": "failed"}),
    (Answer(500, b"<html>"), RequestRefused, {"reason": "failed", "detail": "the server answered 500"}),
    (Answer(400, b"[1]"), InvalidOption, {"field": ""}),
]


@pytest.mark.parametrize(("answer", "error", "fields"), FINAL)
def test_a_final_refusal_becomes_an_error_at_once(
    answer: Answer, error: type[CallboardError], fields: dict[str, Any]
) -> None:
    stage = Stage(answer)
    with pytest.raises(error) as raised:
        stage.enqueue()
    assert {name: getattr(raised.value, name) for name in fields} == fields
    assert len(stage.sent) == 1


def test_problems_with_one_task_are_errors_that_carry_it() -> None:
    with pytest.raises(TaskNotFound) as missing:
        Stage(refused(404)).hold(Stage().talk.get(ID))
    assert missing.value.task_id == ID
    # An older server, or a proxy, may not name the state apart.
    stage = Stage(refused(409, detail="Task x is executing. Only a dead task can be retried."))
    with pytest.raises(WrongState) as conflict:
        stage.hold(stage.talk.retry(ID, keep_attempts=False))
    assert (conflict.value.task_id, conflict.value.state) == (ID, "executing")


def test_ids_are_escaped_in_paths() -> None:
    stage = Stage(answered(shown()))
    stage.hold(stage.talk.get("../queues?x"))
    assert stage.sent[0].path == "/api/tasks/..%2Fqueues%3Fx"


def test_waiting_asks_again_until_the_task_has_ended() -> None:
    stage = Stage(answered(shown("executing")), answered(shown("completed", result=1)), seconds_per_answer=20.0)
    assert stage.hold(stage.talk.wait(ID, None)).result == 1
    assert [step.params["wait"] for step in stage.sent] == ["20.000", "20.000"]


def test_waiting_survives_the_servers_restart() -> None:
    stage = Stage(answered(shown("executing")), NO_ANSWER, REFUSED_CONNECTION, answered(shown("dead")))
    assert stage.hold(stage.talk.wait(ID, None)).state is TaskState.DEAD


def test_waiting_ends_at_its_own_deadline() -> None:
    stage = Stage(answered(shown("executing")), seconds_per_answer=15.0)
    with pytest.raises(RequestTimedOut, match="still executing after 25 s"):
        stage.hold(stage.talk.wait(ID, 25))
    assert [step.params["wait"] for step in stage.sent] == ["20.000", "10.000"]


def test_waiting_for_no_time_looks_once() -> None:
    stage = Stage(answered(shown("executing")))
    with pytest.raises(RequestTimedOut):
        stage.hold(stage.talk.wait(ID, 0))
    assert len(stage.sent) == 1


def batch(step: Send) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = json.loads(step.body or b"")["tasks"]
    return tasks


def many(stage: Stage, tasks: list[dict[str, Any]]) -> list[Task]:
    return stage.hold(stage.talk.enqueue_many(tasks, "key"))


def test_many_tasks_go_in_one_request_and_come_back_in_order() -> None:
    stage = Stage(answered([shown(id="1"), shown(id="2")], 201))
    assert [task.id for task in many(stage, [{"queue": "a"}, {"queue": "b"}])] == ["1", "2"]
    assert batch(stage.sent[0]) == [{"queue": "a"}, {"queue": "b"}]
    assert stage.sent[0].key == "key-0"


def test_no_tasks_are_no_request() -> None:
    stage = Stage(answered([]))
    assert many(stage, []) == []
    assert stage.sent == []


CUTS: list[tuple[Callable[[], list[dict[str, Any]]], list[int]]] = [
    # tasks, how many go into each request
    (lambda: [{"queue": "q"}] * 20_001, [10_000, 10_000, 1]),
    (lambda: [{"queue": "q", "context": {"a": "x" * (BATCH_BYTES // 3)}}] * 5, [2, 2, 1]),
    (lambda: [{"queue": "q"}, {"queue": "q", "context": {"a": "x" * BATCH_BYTES}}, {"queue": "q"}], [1, 1, 1]),
]


@pytest.mark.parametrize(("tasks", "sizes"), CUTS)
def test_what_is_too_much_for_one_request_is_cut(tasks: Callable[[], list[dict[str, Any]]], sizes: list[int]) -> None:
    stage = Stage(answered([shown()], 201))
    many(stage, tasks())
    assert [len(batch(step)) for step in stage.sent] == sizes
    assert len({step.key for step in stage.sent}) == len(sizes)


def test_what_was_accepted_before_a_failure_is_told() -> None:
    stage = Stage(answered([shown(id="1")], 201), refused(400, errors={"tasks": {"0": {"queue": ["unknown"]}}}))
    large = {"queue": "q", "context": {"a": "x" * BATCH_BYTES}}
    with pytest.raises(PartlyAccepted, match=r"tasks\.0\.queue: unknown") as partly:
        many(stage, [large, large])
    assert [task.id for task in partly.value.accepted] == ["1"]
    with pytest.raises(InvalidOption):
        many(stage, [large, large])


def test_a_mistake_is_found_before_anything_is_sent() -> None:
    stage = Stage(answered([]))
    with pytest.raises(InvalidOption, match="did you mean queue"):
        many(stage, [{"queue": "q"}, {"que": "q"}])
    with pytest.raises(InvalidOption, match="can't be written as JSON"):
        many(stage, [{"queue": "q", "context": {"a": float("nan")}}])
    assert stage.sent == []


def test_a_task_is_read_back_with_its_whole_backoff_or_with_what_there_is() -> None:
    whole = Backoff(base_ms=7, jitter=0.5).to_json()
    assert Stage(answered(shown(backoff=whole))).enqueue().backoff == Backoff(base_ms=7, jitter=0.5)
    assert Stage(answered(shown(backoff_ms=9))).enqueue().backoff == Backoff(base_ms=9)


def test_members_of_a_later_version_are_ignored() -> None:
    assert Stage(answered(shown(novelty=1, priority=-5))).enqueue().priority == -5


def test_a_wait_that_would_pass_the_deadline_is_not_begun() -> None:
    def wait(left: float, retry_after: str | None) -> float | None:
        return wait_before_next(1, 429, retry_after=retry_after, repeatable=True, left=left, rng=random.Random(1))

    assert wait(5.0, "10") is None
    assert wait(5.0, "Fri, 31 Jan 2026 09:15:00 GMT") is not None  # not understood: our own pause

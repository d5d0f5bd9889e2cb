"""How a question finds its way to a queue's owner, past deaths, changes and strangers' answers."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from thespian.actors import ActorSystemException

from callboard.actors.caller import Directory, QueueCaller, SettingsChanged
from callboard.actors.errors import CallboardError, RequestRefused, RequestTimedOut, StoreUnavailable
from callboard.actors.messages import (
    DescribeQueue,
    FindQueue,
    Outcome,
    Ping,
    Pong,
    QueueFound,
    RefusalReason,
    Refused,
    SettingsOutdated,
    Submission,
    SubmitTasks,
    TasksAccepted,
    Verdict,
)
from callboard.conf.settings import QueueSettings
from tests.support.wires import (
    REGISTRY,
    Script,
    Wire,
    accepted,
    dead_process,
    found,
    mortal_process,
    refused,
    reply,
    submission,
    submits,
)


def test_a_queue_is_looked_up_once_and_not_for_every_task() -> None:
    wire = Wire(reply(accepted))
    caller = QueueCaller(wire.endpoint, REGISTRY)
    for _ in range(3):
        assert caller.submit(caller.find("q"), [submission()]) == [Verdict(Outcome.ACCEPTED)]
    assert [type(message) for message in wire.sent] == [FindQueue, SubmitTasks, SubmitTasks, SubmitTasks]


def test_answers_to_other_questions_are_dropped() -> None:
    wire = Wire(lambda message: [Pong("other", 1), "noise", Pong(message.request_id, 7)])
    assert QueueCaller(wire.endpoint, REGISTRY).ask_registry(Ping, Pong).pid == 7


def test_an_answer_of_another_kind_is_an_error() -> None:
    wire = Wire(lambda message: TasksAccepted(message.request_id, ()))
    with pytest.raises(CallboardError, match="TasksAccepted"):
        QueueCaller(wire.endpoint, REGISTRY).ask_registry(Ping, Pong)


def test_a_stale_owner_is_looked_up_again_and_nothing_counts_as_resent() -> None:
    stale = found(incarnation=1)
    fresh = found(incarnation=2)

    def answer(message: Any) -> Any:
        if message.incarnation == 1:
            return Refused(message.request_id, RefusalReason.STALE, "an earlier owner")
        return accepted(message)

    wire = Wire(reply(answer, [stale, fresh]))
    caller = QueueCaller(wire.endpoint, REGISTRY)
    assert caller.submit(caller.find("q"), [submission()]) == [Verdict(Outcome.ACCEPTED)]
    assert [message.submissions[0].resent for message in submits(wire)] == [False, False]


@contextmanager
def dying_once_asked(answer: Script) -> Iterator[Script]:
    """Yield a script: the first owner gets its message and ends, its successor, which has other settings, answers."""
    with mortal_process() as (ident, end):

        def of_either(message: Any) -> Any:
            return end() if message.incarnation == 1 else answer(message)

        yield reply(of_either, [found(**ident._asdict()), found(incarnation=2, settings_version=2)])


def describe(request_id: str, owner: QueueFound) -> DescribeQueue:
    return DescribeQueue(request_id, owner.queue, owner.incarnation)


def pong(message: Any) -> Pong:
    return Pong(message.request_id, 1)


def test_the_successor_of_an_owner_that_dies_gets_the_same_ids_as_resent() -> None:
    wanted = submission(2)
    began = time.monotonic()
    with dying_once_asked(accepted) as script:
        wire = Wire(script)
        caller = QueueCaller(wire.endpoint, REGISTRY)
        assert caller.submit(caller.find("q"), [wanted]) == [Verdict(Outcome.ACCEPTED)]
    first, second = submits(wire)
    assert [task.id for task in first.submissions[0].tasks] == [task.id for task in second.submissions[0].tasks]
    assert [first.submissions[0].resent, second.submissions[0].resent] == [False, True]
    assert (wire.opened, wire.closed) == (2, 1)
    # Far from the deadline: the death was noticed, not waited out.
    assert time.monotonic() - began < 5


def test_a_message_that_can_not_be_sent_is_like_a_dead_owner() -> None:
    outcomes: list[Any] = [ActorSystemException("broken pipe")]
    wire = Wire(reply(lambda message: outcomes.pop() if outcomes else accepted(message)))
    caller = QueueCaller(wire.endpoint, REGISTRY)
    assert caller.submit(caller.find("q"), [submission()]) == [Verdict(Outcome.ACCEPTED)]
    assert submits(wire)[1].submissions[0].resent


def test_changed_settings_have_the_tasks_built_again() -> None:
    changed = found(settings_version=2)
    wire = Wire(reply(refused(RefusalReason.STALE), [found(), changed]))
    caller = QueueCaller(wire.endpoint, REGISTRY)
    with pytest.raises(SettingsChanged) as raised:
        caller.submit(caller.find("q"), [submission()])
    assert raised.value.found.settings_version == 2


def test_the_owner_itself_says_what_its_settings_are_now() -> None:
    news = QueueSettings(worker="a:b", max_retries=7)

    def answer(message: Any) -> Any:
        if message.settings_version == 2:
            return accepted(message)
        return SettingsOutdated(message.request_id, RefusalReason.STALE, "changed", settings=news, settings_version=2)

    wire = Wire(reply(answer))
    caller = QueueCaller(wire.endpoint, REGISTRY)
    built: list[int] = []

    def build(owner: QueueFound) -> Submission:
        built.append(owner.settings.max_retries)
        return submission()

    assert caller.submit_built("q", build).outcome is Outcome.ACCEPTED
    assert built == [3, 7]
    assert [type(message) for message in wire.sent] == [FindQueue, SubmitTasks, SubmitTasks]


def test_tasks_that_may_be_stored_are_not_built_again() -> None:
    with dying_once_asked(accepted) as script:
        wire = Wire(script)
        caller = QueueCaller(wire.endpoint, REGISTRY)
        assert caller.submit(caller.find("q"), [submission()]) == [Verdict(Outcome.ACCEPTED)]
    assert submits(wire)[1].settings_version == 2


def test_tasks_for_an_owner_that_had_ended_before_are_built_again() -> None:
    gone = found(**dead_process()._asdict())
    wire = Wire(reply(accepted, [gone, found(incarnation=2, settings_version=2)]))
    caller = QueueCaller(wire.endpoint, REGISTRY)
    built: list[int] = []

    def build(owner: QueueFound) -> Submission:
        built.append(owner.settings_version)
        return submission()

    assert caller.submit_built("q", build).outcome is Outcome.ACCEPTED
    assert built == [1, 2]
    assert [(sent.settings_version, sent.submissions[0].resent) for sent in submits(wire)] == [(2, False)]


def test_submit_built_builds_with_the_settings_of_the_moment() -> None:
    def answer(message: Any) -> Any:
        return accepted(message) if message.settings_version == 2 else refused(RefusalReason.STALE)(message)

    wire = Wire(reply(answer, [found(), found(settings_version=2)]))
    built: list[int] = []

    def build(owner: QueueFound) -> Submission:
        built.append(owner.settings_version)
        return submission()

    assert QueueCaller(wire.endpoint, REGISTRY).submit_built("q", build).outcome is Outcome.ACCEPTED
    assert built == [1, 2]


def test_submit_built_raises_what_became_of_it() -> None:
    wire = Wire(reply(refused(RefusalReason.STORE_UNAVAILABLE)))
    with pytest.raises(RequestRefused, match="no"):
        QueueCaller(wire.endpoint, REGISTRY).submit_built("q", lambda _: submission())


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("all", [Outcome.ACCEPTED, Outcome.ACCEPTED]),  # the owner died after its commit, and nobody succeeded it
        ("first", [Outcome.ACCEPTED, RequestTimedOut]),  # they were in different transactions
        ("none", [RequestTimedOut, RequestTimedOut]),  # it never got there
        ("unknown", [RequestTimedOut, RequestTimedOut]),  # the store does not answer either
    ],
)
def test_at_the_deadline_the_store_tells_what_became_of_a_submission(stored: str, expected: list[Any]) -> None:
    submissions = [submission(2), submission(1)]
    ids = [task.id for one in submissions for task in one.tasks]

    def existing(asked: Sequence[str]) -> set[str]:
        assert list(asked) == ids
        if stored == "unknown":
            raise StoreUnavailable("gone")
        return set({"all": ids, "first": ids[:2], "none": []}[stored])

    wire = Wire(reply(lambda _: None))
    caller = QueueCaller(wire.endpoint, REGISTRY, existing=existing)
    verdicts = caller.submit(caller.find("q"), submissions, seconds=0.2)
    assert [one.outcome if isinstance(one, Verdict) else type(one) for one in verdicts] == expected


def test_a_refusal_is_passed_on_without_asking_the_store() -> None:
    wire = Wire(reply(refused(RefusalReason.SHUTTING_DOWN)))
    caller = QueueCaller(wire.endpoint, REGISTRY, existing=lambda _: pytest.fail("nothing was sent twice"))
    (refusal,) = caller.submit(caller.find("q"), [submission()])
    assert isinstance(refusal, RequestRefused)
    assert refusal.reason == RefusalReason.SHUTTING_DOWN


def test_an_unknown_queue_is_refused_at_once() -> None:
    with pytest.raises(RequestRefused):
        QueueCaller(Wire(refused(RefusalReason.UNKNOWN_QUEUE)).endpoint, REGISTRY).find("q")


def test_a_starting_queue_is_waited_for() -> None:
    tries: list[int] = []

    def script(message: Any) -> Any:
        tries.append(1)
        if len(tries) < 4:
            return Refused(message.request_id, RefusalReason.STARTING, "starting")
        return found(request_id=message.request_id)

    assert QueueCaller(Wire(script).endpoint, REGISTRY).find("q").queue == "q"


def test_a_queue_that_never_starts_is_given_up_at_the_deadline() -> None:
    with pytest.raises(RequestTimedOut, match="no"):
        QueueCaller(Wire(refused(RefusalReason.STARTING)).endpoint, REGISTRY).find("q", 0.1)


def test_a_registry_that_has_died_is_noticed_long_before_the_deadline() -> None:
    caller = QueueCaller(Wire(lambda _: None).endpoint, REGISTRY, registry_process=dead_process())
    began = time.monotonic()
    for ask in (lambda: caller.ask_registry(Ping, Pong, 60), lambda: caller.find("q", 60)):
        with pytest.raises(RequestTimedOut):
            ask()
    assert time.monotonic() - began < 30


def test_a_question_says_whether_it_may_have_been_done_before() -> None:
    with dying_once_asked(pong) as script:
        caller = QueueCaller(Wire(script).endpoint, REGISTRY)
        assert caller.ask_queue("q", describe, Pong)[1] is True
        assert caller.ask_queue("q", describe, Pong)[1] is False


def test_an_owner_that_had_ended_before_it_was_asked_has_done_nothing() -> None:
    gone = found(**dead_process()._asdict())
    wire = Wire(reply(pong, [gone, gone, gone, found(incarnation=2)]))
    assert QueueCaller(wire.endpoint, REGISTRY).ask_queue("q", describe, Pong)[1] is False
    # The Registry has noticed only after a while: it was asked again, for as long as it named the dead one.
    assert [type(message) for message in wire.sent] == [FindQueue] * 4 + [DescribeQueue]


def test_what_may_have_been_done_stays_so_when_the_next_owner_has_ended_before_it_was_asked() -> None:
    outcomes: list[Any] = [ActorSystemException("broken pipe")]
    owners = [found(), found(**dead_process()._asdict()), found(incarnation=2)]
    wire = Wire(reply(lambda message: outcomes.pop() if outcomes else pong(message), owners))
    assert QueueCaller(wire.endpoint, REGISTRY).ask_queue("q", describe, Pong)[1] is True


def test_the_registry_is_not_stormed_while_it_names_a_dead_owner() -> None:
    wire = Wire(reply(pong, [found(**dead_process()._asdict())]))
    with pytest.raises(RequestTimedOut, match="'q'"):
        QueueCaller(wire.endpoint, REGISTRY).ask_queue("q", describe, Pong, seconds=0.3)
    # 5, 10, 20, 40, 80 and 100 ms apart.
    assert {type(message) for message in wire.sent} == {FindQueue}
    assert len(wire.sent) <= 7


def test_an_owner_that_another_thread_has_found_is_not_forgotten() -> None:
    directory = Directory()
    fresh = found(incarnation=2)

    def answer(message: Any) -> Any:
        if message.incarnation == 1:
            directory.note(fresh)
            return Refused(message.request_id, RefusalReason.STALE, "old")
        return accepted(message)

    wire = Wire(reply(answer))
    caller = QueueCaller(wire.endpoint, REGISTRY, directory=directory)
    assert caller.submit(caller.find("q"), [submission()]) == [Verdict(Outcome.ACCEPTED)]
    assert [type(message) for message in wire.sent] == [FindQueue, SubmitTasks, SubmitTasks]


def test_a_caller_that_is_told_to_stop_gives_up() -> None:
    stop = threading.Event()
    caller = QueueCaller(Wire(reply(lambda _: None)).endpoint, REGISTRY, stop=stop)
    owner = caller.find("q")
    threading.Timer(0.1, stop.set).start()
    (verdict,) = caller.submit(owner, [submission()], seconds=60)
    assert isinstance(verdict, RequestTimedOut)


def test_a_closed_caller_opens_a_fresh_endpoint() -> None:
    wire = Wire(reply(accepted))
    caller = QueueCaller(wire.endpoint, REGISTRY)
    caller.find("q")
    caller.close()
    caller.close()
    caller.submit(caller.find("q"), [submission()])
    assert (wire.opened, wire.closed) == (2, 1)

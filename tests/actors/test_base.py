"""The base actor, in real processes of a sealed actor system."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from callboard.actors import processes
from callboard.actors.base import CallboardActor, handles
from callboard.actors.messages import Ping, Pong
from callboard.actors.system import Booted
from tests.support.parents import Do, Done, Nonsense, Parent
from tests.support.polling import eventually
from tests.support.systems import booted_system, new_id, reply_to

# isort: split
from thespian.actors import ActorAddress, ActorExitRequest


class Stage:
    """A booted system with one Parent on it."""

    def __init__(self, booted: Booted) -> None:
        self.booted = booted
        self.parent: ActorAddress = booted.actor_system.createActor(Parent)

    def do(self, what: str, seconds: float = 0.0) -> Any:
        reply = reply_to(self.booted, self.parent, Do(new_id(), what, seconds))
        assert isinstance(reply, Done)
        return reply.answer

    def notes(self) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.do("tell notes")
        return found

    def noted(self, *notes: tuple[Any, ...]) -> bool:
        return all(note in self.notes() for note in notes)


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    with booted_system(tmp_path_factory.mktemp("system")) as system:
        yield system


@pytest.fixture
def stage(booted: Booted) -> Iterator[Stage]:
    stage = Stage(booted)
    yield stage
    booted.actor_system.ask(stage.parent, ActorExitRequest(), 0.02)  # `tell` would try for 35 s if it is dead


def test_a_ping_is_answered_with_the_pid(stage: Stage) -> None:
    request = Ping(new_id())
    reply = reply_to(stage.booted, stage.parent, request)
    assert isinstance(reply, Pong)
    assert reply.request_id == request.request_id
    assert psutil.pid_exists(reply.pid)


def test_no_exception_leaves_a_handler_and_the_message_is_not_handled_twice(stage: Stage) -> None:
    assert stage.do("raise system exit") == "SystemExit(3)"
    assert stage.notes().count(("raising",)) == 1
    assert ("failed", "Do", "SystemExit(3)") in stage.notes()


def test_an_unknown_message_is_logged_by_name(caplog: pytest.LogCaptureFixture) -> None:
    CallboardActor().receiveMessage(Nonsense(new_id()), None)
    assert "CallboardActor got a Nonsense, which it does not handle" in caplog.text


def test_what_a_handler_raised_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(CallboardActor):
        @handles(Nonsense)
        def fail(self, message: Nonsense, sender: object) -> None:
            raise LookupError("lost")

    Failing().receiveMessage(Nonsense(new_id()), None)
    assert "Failing could not handle Nonsense" in caplog.text
    assert "LookupError: lost" in caplog.text


def test_records_go_to_the_logging_that_was_there_before_the_system_was_booted(stage: Stage) -> None:
    assert stage.do("tell logging") is True


def test_faults_end_an_actor_by_their_signal(stage: Stage) -> None:
    assert stage.do("tell fault handlers") is True
    stage.do("spawn faulting")
    eventually(lambda: stage.noted(("exited", "faulting", "SIGSEGV")))


def test_one_wakeup_comes_for_the_earliest_moment(stage: Stage) -> None:
    stage.do("wake twice", 0.05)
    eventually(lambda: any(note[0] == "woken" for note in stage.notes()))
    woken = [note[1] for note in stage.notes() if note[0] == "woken"]
    assert len(woken) == 1
    assert woken[0] >= 0.05


def test_a_watched_descriptor_is_heard_and_stays_watched_across_other_messages(stage: Stage) -> None:
    stage.do("write to watched")
    eventually(lambda: stage.noted(("readable", b"ring")))
    stage.do("write to watched")
    eventually(lambda: stage.notes().count(("readable", b"ring")) == 2)


def test_an_unwatched_descriptor_is_not_heard(stage: Stage) -> None:
    stage.do("write to unwatched")
    stage.do("tell children")
    assert not [note for note in stage.notes() if note[0] == "readable"]


def test_a_childs_exit_code_is_told(stage: Stage) -> None:
    stage.do("spawn exiting")
    eventually(lambda: stage.noted(("exited", "exiting", 7)))


def test_of_children_that_have_ended_no_descriptor_stays_open(stage: Stage) -> None:
    pid = reply_to(stage.booted, stage.parent, Ping(new_id())).pid

    def pipes() -> int:
        return sum(str(path.readlink()).startswith("pipe:") for path in Path(f"/proc/{pid}/fd").iterdir())

    before = pipes()
    for _ in range(5):
        stage.do("spawn exiting")
    eventually(lambda: stage.notes().count(("exited", "exiting", 7)) == 5)
    assert pipes() == before


def test_a_child_that_cannot_be_made_has_exited(stage: Stage) -> None:
    stage.do("spawn broken")
    eventually(lambda: any(note[:2] == ("exited", "broken") for note in stage.notes()))
    assert stage.do("tell children") == []


def test_a_child_that_is_not_ready_in_time_is_killed(stage: Stage) -> None:
    stage.do("spawn late")
    eventually(lambda: stage.noted(("late", "late"), ("exited", "late", "SIGKILL")))


def test_a_ready_child_is_left_alone(stage: Stage) -> None:
    pid = stage.do("spawn ready")
    late_one = stage.do("spawn late")  # comes after it, with the same deadline: once it is dead the other had its chance
    eventually(lambda: stage.noted(("exited", "late", "SIGKILL")))
    assert stage.do("tell children") == [("ready", pid, True)]
    assert pid != late_one


def test_a_hook_that_fails_keeps_no_death_from_being_told(stage: Stage) -> None:
    stage.do("spawn and kill")
    stage.do("spawn exiting")
    eventually(lambda: stage.noted(("exited", "raise in the hook", "SIGKILL"), ("exited", "exiting", 7)))


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.003, 0.005, 0.008, 0.012, 0.02])
def test_a_death_that_thespian_may_not_report_is_found_exactly_once(stage: Stage, seconds: float) -> None:
    stage.do("spawn killed while busy", seconds)
    eventually(lambda: stage.noted(("exited", "unseen", "SIGKILL")))
    stage.do("spawn ready")
    assert stage.notes().count(("exited", "unseen", "SIGKILL")) == 1


def test_a_child_that_died_unseen_does_not_keep_its_parent_from_exiting(stage: Stage) -> None:
    for milliseconds in range(0, 12, 2):
        stage.do("spawn killed while busy", milliseconds / 1000)
    parent = processes.identify(reply_to(stage.booted, stage.parent, Ping(new_id())).pid)
    assert parent is not None
    stage.booted.actor_system.tell(stage.parent, ActorExitRequest())
    eventually(lambda: not processes.is_alive(parent), within=5)


def test_a_killed_childs_program_dies_with_it(stage: Stage) -> None:
    program = processes.identify(stage.do("spawn with program"))
    assert program is not None
    stage.do("kill all")
    eventually(lambda: not processes.is_alive(program))


def test_a_crashed_childs_program_dies_with_it(stage: Stage) -> None:
    program = processes.identify(stage.do("spawn with program"))
    assert program is not None
    [(_, child, _)] = stage.do("tell children")
    os.kill(child, signal.SIGKILL)  # the child alone, not its group
    eventually(lambda: not processes.is_alive(program))


def test_children_die_with_their_parent(stage: Stage) -> None:
    child = processes.identify(stage.do("spawn ready"))
    assert child is not None
    os.kill(reply_to(stage.booted, stage.parent, Ping(new_id())).pid, signal.SIGKILL)
    eventually(lambda: not processes.is_alive(child))


def test_a_subclass_keeps_its_parents_handlers_and_may_replace_them() -> None:
    class Heir(Parent):
        pass

    assert Heir._handlers == Parent._handlers
    assert CallboardActor._handlers == {}

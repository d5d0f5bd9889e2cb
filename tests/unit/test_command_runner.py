"""How a program is given its task, and what is made of its answer."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from callboard.actors import processes
from callboard.actors.handlers import TaskContext
from callboard.actors.runners.call import MAX_RESULT_BYTES, AttemptOutcome
from callboard.actors.runners.command import CommandNotFound, CommandRunner
from callboard.actors.runners.launched import pid_of, wait_for
from tests.support.polling import eventually

CTX = TaskContext("id", "mail", "work", {"a": "ü"}, 2, 3, 1_800_000_000.25, Path(), "memory:")


def run(*command: str, context: dict[str, Any] | None = None) -> tuple[AttemptOutcome, list[str]]:
    lines: list[str] = []
    ctx = CTX if context is None else TaskContext("id", "mail", "work", context, 1, 3, 0.0, Path(), "memory:")
    return CommandRunner(command, lines.append).run(ctx), lines


def python(program: str, context: dict[str, Any] | None = None) -> tuple[AttemptOutcome, list[str]]:
    return run(sys.executable, "-c", program, context=context)


def no_pidfd(_pid: int) -> int:
    raise OSError


@pytest.fixture(params=["pidfd", "polling"], autouse=True)
def with_and_without_pidfd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "polling":
        monkeypatch.setattr(os, "pidfd_open", no_pidfd)


def test_the_task_comes_in_as_json() -> None:
    outcome, lines = run("cat")
    assert (outcome.completed, lines) == (True, [])
    assert json.loads(outcome.payload) == {
        "id": "id",
        "queue": "mail",
        "type": "work",
        "context": {"a": "ü"},
        "attempt": 2,
        "max_retries": 3,
        "deadline": "2027-01-15T08:00:00.250Z",
    }


def test_both_pipes_may_be_full_at_once() -> None:
    # It writes before it reads, more than either pipe holds.
    program = "import sys; print('[' + '1,' * 200_000 + '2]'); sys.stderr.write('x' * 300_000); sys.stdin.read()"
    outcome, lines = python(program, {"text": "y" * 500_000})
    assert outcome.completed
    assert len(json.loads(outcome.payload)) == 200_001
    assert sum(map(len, lines)) == 300_000


@pytest.mark.parametrize(
    ("program", "payload"),
    [
        ("", b"null"),
        ("print()", b"null"),
        ("print(' [1, 2.5] ')", b"[1, 2.5]"),
        ("import sys; sys.stdin.close(); print('\"ok\"')", b'"ok"'),
        ("import sys; sys.stdout.buffer.write(b'\"\\xc3\\xbc\"')", b'"\\u00fc"'),
    ],
)
def test_a_result_is_what_was_written(program: str, payload: bytes) -> None:
    outcome, _ = python(program, {"text": "y" * 500_000})
    assert (outcome.completed, outcome.payload) == (True, payload)


@pytest.mark.parametrize(
    ("program", "kind", "said"),
    [
        ("print('{')", "returned", "not JSON"),
        ("print('NaN')", "returned", "not JSON"),
        ("print('1 2')", "returned", "not JSON"),
        ("print('1e999')", "returned", "not JSON"),
        ("import sys; sys.stdout.buffer.write(b'\"\\xff\"')", "returned", "not JSON"),
        ("print('[' * 100_000)", "returned", "not JSON"),
        ("print('\"' + 'x' * 1_000_000 + '\"')", "returned", "more than 1,000,000 bytes"),
        # Its JSON here has six bytes for each letter.
        ("import sys; sys.stdout.buffer.write(b'\"' + b'\\xc3\\xbc' * 200_000 + b'\"')", "returned", "of JSON"),
        ("while True: print('x' * 1_000)", "returned", "more than 1,000,000 bytes"),
        ("raise SystemExit(9)", "error", "exit code 9"),
        ("import os; os.kill(os.getpid(), 11)", "error", "signal SIGSEGV"),
    ],
)
def test_what_goes_wrong_is_said(program: str, kind: str, said: str) -> None:
    outcome, _ = python(program)
    told = json.loads(outcome.payload)
    assert (outcome.completed, told["kind"]) == (False, kind)
    assert said in told["message"]


PAUSES = """
import array, fcntl, os, signal, sys, termios, time
def wait_until_all_is_read():
    sys.stdout.flush()
    unread = array.array('i', [1])
    while unread[0]:
        fcntl.ioctl(1, termios.FIONREAD, unread)
        time.sleep(0.001)
def pause():
    sys.stdout.flush()
    print(os.getpid(), file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def let_go_on(line: str) -> None:
    """Let a program that pauses go on, and read nothing more of it before it pauses again or has ended."""
    pid = int(line)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    os.kill(pid, signal.SIGCONT)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)


def test_what_a_program_writes_just_before_its_end_is_read_after_it() -> None:
    runner = CommandRunner((sys.executable, "-c", PAUSES + "pause(); print('[1, 2]')"), let_go_on)
    assert runner.run(CTX) == AttemptOutcome(completed=True, payload=b"[1, 2]")


def test_a_program_that_ends_while_it_is_found_to_have_written_too_much_has_done_so() -> None:
    large_pipe = "fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 262_144)"
    writes = f"{large_pipe}; print('x' * {MAX_RESULT_BYTES - 20_000}); wait_until_all_is_read()"
    goes_on = "pause(); print('x' * 50_000); pause(); print('x' * 100_000)"
    runner = CommandRunner((sys.executable, "-c", PAUSES + f"{writes}; {goes_on}"), let_go_on)
    assert "more than 1,000,000 bytes" in json.loads(runner.run(CTX).payload)["message"]


def test_the_end_of_a_program_is_not_put_off_by_what_it_leaves_behind() -> None:
    program = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '1000'], stdout=sys.stdout, stderr=sys.stderr); print(p.pid)"
    )
    outcome, _ = python(program)
    assert outcome.completed
    os.kill(int(outcome.payload), signal.SIGKILL)


def test_a_program_that_is_not_there_is_found_at_once() -> None:
    with pytest.raises(CommandNotFound, match="/no/such/program"):
        CommandRunner(("/no/such/program",), print)


def test_a_program_that_has_gone_since_fails_the_attempt(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    runner = CommandRunner((str(program),), print)
    assert runner.run(CTX).completed
    program.unlink()
    assert "can't be started" in json.loads(runner.run(CTX).payload)["message"]


def test_the_end_of_a_strangers_process_is_seen_but_not_how() -> None:
    # Of a grandchild that its parent has waited for: to this process it is a stranger.
    program = "import subprocess; p = subprocess.Popen(['sleep', '0.2']); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        ident = processes.identify(pid)
        assert ident is not None
        assert wait_for(pid, pid).exit_code is None
        eventually(lambda: not processes.is_alive(ident))
    assert wait_for(pid, pid).exit_code is None  # it has been reaped


@pytest.mark.parametrize("process", [0, 1, -1, True, "7", None, 7.0])
def test_what_can_be_no_process_is_not_waited_for(process: object) -> None:
    assert pid_of(process) is None


def test_no_process_waits_for_itself() -> None:
    assert pid_of(os.getpid()) is None

"""What replaces prctl, /proc and pidfds where there are none: the same processes, looked at as on other systems."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from callboard.actors import processes, runtime, undertaker
from callboard.actors.processes import Ident
from tests.support.polling import eventually

FORK = multiprocessing.get_context("fork")
NOBODY = 2**22 + 1


def be_elsewhere(patch: pytest.MonkeyPatch) -> None:
    """Have this process see what it would see on a system that isn't Linux."""
    patch.setattr(sys, "platform", "elsewhere")
    patch.delattr(os, "pidfd_open")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    be_elsewhere(monkeypatch)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def forked() -> Iterator[Callable[[Callable[[], None]], int]]:
    """Fork this process to call something; whatever it does, it is gone in the end."""
    children: list[multiprocessing.context.ForkProcess] = []

    def fork(target: Callable[[], None]) -> int:
        child = FORK.Process(target=target)
        child.start()
        children.append(child)
        assert child.pid is not None
        return child.pid

    yield fork
    for child in children:
        child.kill()
        child.join()


@pytest.mark.usefixtures("elsewhere")
def test_a_process_is_known_by_its_start_time_and_a_zombie_is_dead(sleeper: subprocess.Popen[bytes]) -> None:
    ident = processes.identify(sleeper.pid)
    assert ident is not None
    assert processes.is_alive(ident)
    assert not processes.is_alive(Ident(ident.pid, ident.started - 1))
    sleeper.kill()
    eventually(lambda: not processes.is_alive(ident))
    assert processes.identify(sleeper.pid) == ident
    assert processes.identify(NOBODY) is None


@pytest.mark.usefixtures("elsewhere")
def test_only_the_very_process_is_killed(sleeper: subprocess.Popen[bytes]) -> None:
    ident = processes.identify(sleeper.pid)
    assert ident is not None
    assert not processes.kill(Ident(ident.pid, ident.started - 1))
    assert sleeper.poll() is None
    assert processes.kill(ident)
    assert sleeper.wait() == -signal.SIGKILL
    assert not processes.kill(ident)


@pytest.mark.usefixtures("elsewhere")
def test_a_process_that_may_not_be_killed_is_not_taken_for_killed(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(pid: int, number: int) -> None:
        raise PermissionError

    ident = processes.identify(sleeper.pid)
    assert ident is not None
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", forbidden)
        assert not processes.kill(ident)
    assert processes.is_alive(ident)


def test_a_process_that_may_not_be_signalled_through_its_pidfd_is_not_taken_for_killed(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(pidfd: int, number: int) -> None:
        raise PermissionError

    ident = processes.identify(sleeper.pid)
    assert ident is not None
    with monkeypatch.context() as patch:
        patch.setattr(signal, "pidfd_send_signal", forbidden)
        assert not processes.kill(ident)
    assert processes.is_alive(ident)


@pytest.mark.usefixtures("elsewhere")
def test_orphans_go_to_init() -> None:
    assert processes.become_subreaper() == processes.INIT_PID


def test_a_child_watches_its_parent_and_dies_with_it(forked: Callable[[Callable[[], None]], int]) -> None:
    read, write = os.pipe()

    def parent() -> None:
        if os.fork() == 0:
            be_elsewhere(pytest.MonkeyPatch())
            processes.die_with_parent()
            os.write(write, f"{os.getpid()}\n".encode())
        time.sleep(1000)

    pid = forked(parent)
    child = processes.identify(int(os.read(read, 20)))
    assert child is not None
    assert processes.is_alive(child)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not processes.is_alive(child))
    os.close(read)
    os.close(write)


def test_a_child_whose_parent_lives_ends_as_it_likes() -> None:
    def child() -> None:
        be_elsewhere(pytest.MonkeyPatch())
        processes.die_with_parent()
        assert "parent-watch" in {thread.name for thread in threading.enumerate()}
        os._exit(7)

    process = FORK.Process(target=child)
    process.start()
    process.join(10)
    assert process.exitcode == 7


def test_whoever_watches_its_parent_kills_itself_once_that_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = [NOBODY] * 3
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "getppid", lambda: parents[-1] if parents else processes.INIT_PID)
    monkeypatch.setattr(os, "kill", lambda *which: killed.append(which))
    monkeypatch.setattr(processes, "time", SimpleNamespace(sleep=lambda _: parents.pop()))
    processes._watch_parent(NOBODY)
    assert (parents, killed) == ([], [(os.getpid(), signal.SIGKILL)])


@pytest.mark.parametrize("linux", [True, False])
def test_the_undertaker_wakes_up_when_the_supervisor_has_ended(
    linux: bool, forked: Callable[[Callable[[], None]], int]
) -> None:
    read, write = os.pipe()

    def supervisor() -> None:
        me = os.getpid()
        if os.fork() == 0:
            if not linux:
                be_elsewhere(pytest.MonkeyPatch())
            os.write(write, b"watching")
            undertaker._wait_for_end_of_parent(me)
            os.write(write, b"awake")
            os._exit(0)
        time.sleep(1000)

    pid = forked(supervisor)
    assert os.read(read, 20) == b"watching"
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):
        os.read(read, 20)
    os.set_blocking(read, True)
    os.kill(pid, signal.SIGKILL)
    assert os.read(read, 20) == b"awake"
    os.close(read)
    os.close(write)


def test_the_undertaker_does_not_wait_for_a_supervisor_that_has_ended_already(sleeper: subprocess.Popen[bytes]) -> None:
    undertaker._wait_for_end_of_parent(NOBODY)
    # Somebody else has got its id: that one is nobody to wait for.
    undertaker._wait_for_end_of_parent(sleeper.pid)
    assert sleeper.poll() is None


def test_the_time_since_the_machines_start_has_a_name_without_the_kernels_help(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path, **_: object) -> str:
        raise FileNotFoundError

    told = runtime.machine_boot_id()
    monkeypatch.setattr(Path, "read_text", missing)
    assert runtime.machine_boot_id() == runtime.machine_boot_id() != told
    assert runtime.machine_boot_id().startswith(sys.platform)

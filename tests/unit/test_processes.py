"""Processes known for certain, ended together; with real processes."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import psutil
import pytest

from callboard.actors import processes
from callboard.actors.processes import Ident
from tests.support.polling import eventually

FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_this_process_is_alive_and_has_a_start_time() -> None:
    me = processes.identify(os.getpid())
    assert me is not None
    assert me.pid == os.getpid()
    assert processes.is_alive(me)
    assert processes.identify(me.pid) == me


def test_a_process_with_the_same_id_and_another_start_is_another_one() -> None:
    with sleeper() as process:
        ident = processes.identify(process.pid)
        assert ident is not None
        stranger = Ident(ident.pid, ident.started - 1)
        assert not processes.is_alive(stranger)
        assert not processes.kill(stranger)
        assert processes.is_alive(ident)
        assert processes.kill(ident)
        assert process.wait() == -signal.SIGKILL


def test_a_zombie_is_dead() -> None:
    with sleeper() as process:
        ident = processes.identify(process.pid)
        assert ident is not None
        process.kill()
        eventually(lambda: not processes.is_alive(ident))
        assert processes.identify(process.pid) == ident
        assert not processes.kill(ident)


def test_nobody_has_an_id_that_was_never_given() -> None:
    assert processes.identify(2**22 + 1) is None
    assert not processes.is_alive(Ident(2**22 + 1, 0.0))


@contextlib.contextmanager
def started(script: str) -> Iterator[Ident]:
    """Give the shell that runs a script, once it has printed a line."""
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        root = processes.identify(shell.pid)
        assert root is not None
        yield root


def test_a_tree_is_ended_with_all_its_descendants() -> None:
    script = "sleep 1000 & sleep 1000 & echo started; wait"
    with started(script) as root:
        tree = {root, *processes.descendants(root)}
        assert len(tree) == 3
        assert processes.end_tree([root]) == set()
        assert not any(map(processes.is_alive, tree))


def test_parents_are_killed_before_their_children_and_so_see_none_of_them_die(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "sh -c 'sh -c \"sleep 1000 & echo started; wait\" & wait' & wait"
    with started(script) as root:
        line = [root]
        while below := processes.descendants(line[-1]):
            line.append(min(below, key=lambda ident: ident.pid))
        killed: list[Ident] = []
        kill = processes.kill

        def note_and_kill(ident: Ident) -> bool:
            killed.append(ident)
            return kill(ident)

        monkeypatch.setattr(processes, "kill", note_and_kill)
        assert processes.end_tree(set(line)) == set()
        assert killed[: len(line)] == line
        assert len(line) == 4


def test_a_subreaper_ends_orphans_of_orphans_but_not_whom_it_knows() -> None:
    # In a process of its own: pytest has children that aren't orphans.
    script = """
        import os, subprocess, time
        from callboard.actors import processes
        assert processes.become_subreaper() == os.getpid()
        known = subprocess.Popen(["sleep", "1000"])
        # Each shell ends at once and leaves behind a shell that leaves behind a program.
        subprocess.run(["sh", "-c", "(sh -c 'sleep 1000 & sleep 1000' & ) "], check=True)
        deadline = time.monotonic() + 10
        while len(processes.child_pids()) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        orphans = processes.descendants(processes.identify(os.getpid()))
        assert processes.end_orphans({known.pid}) == set()
        assert [ident.pid for ident in orphans if processes.is_alive(ident)] == [known.pid]
        assert known.poll() is None
        known.kill()
        assert known.wait() == -9
        print("passed")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("passed\n", "")


def test_a_child_dies_with_its_parent() -> None:
    read, write = os.pipe()

    def parent() -> None:
        child = os.fork()
        if child == 0:
            processes.die_with_parent()
            os.write(write, f"{os.getpid()}\n".encode())
            time.sleep(1000)
        time.sleep(1000)

    process = FORK.Process(target=parent)
    process.start()
    child = processes.identify(int(os.read(read, 20)))
    assert child is not None
    assert processes.is_alive(child)
    process.kill()
    process.join()
    eventually(lambda: not processes.is_alive(child))
    os.close(read)
    os.close(write)


def test_a_child_whose_parent_is_gone_already_ends_itself() -> None:
    def orphan() -> None:
        processes.die_with_parent(2**22 + 1)

    process = FORK.Process(target=orphan)
    process.start()
    process.join(10)
    assert process.exitcode == processes.ORPHAN_EXIT_CODE


@pytest.mark.parametrize(
    ("exitcode", "name"),
    [
        (0, 0),
        (7, 7),
        (-11, "SIGSEGV"),
        (-9, "SIGKILL"),
        (-99, "SIG99"),  # no signal's number
    ],
)
def test_exit_codes_have_names(exitcode: int, name: str | int) -> None:
    assert processes.exit_name(exitcode) == name


def test_a_process_that_withstands_is_told_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with sleeper() as process:
        ident = processes.identify(process.pid)
        assert ident is not None
        monkeypatch.setattr(processes, "kill", lambda _: False)
        assert processes.end_tree([ident], within=0.01) == {ident}
        assert processes.is_alive(ident)


def test_whose_exit_others_wait_for_is_not_collected() -> None:
    with subprocess.Popen(["sh", "-c", "exit 7"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert processes.reap_orphans(known={process.pid}, among={process.pid}) == set()
        assert process.wait() == 7


def test_all_that_have_ended_are_collected_but_the_one_that_is_kept_for_others_to_see() -> None:
    def forked() -> int:
        if (pid := os.fork()) == 0:
            processes.die_with_parent()
            signal.pause()
        return pid

    def ended(pid: int) -> int:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    def parent() -> None:
        kept, *others = forked(), ended(forked()), ended(forked())
        processes.reap_all_but(kept)
        assert not any(map(psutil.pid_exists, others))
        processes.reap_all_but(ended(kept))
        assert os.waitpid(kept, 0)[1] == signal.SIGKILL
        processes.reap_all_but(kept)  # there is nobody left

    process = FORK.Process(target=parent)
    process.start()
    process.join(10)
    assert process.exitcode == 0

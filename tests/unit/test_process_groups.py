"""A child and the process group that it leads, ended together; with real processes."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from callboard.actors import process_groups, processes
from callboard.actors.processes import Ident
from tests.support.polling import eventually

FORK = multiprocessing.get_context("fork")


def lead_a_group_with_a_program(report: int) -> None:
    os.setpgid(0, 0)
    program = subprocess.Popen(["sleep", "1000"])
    os.write(report, f"{program.pid}\n".encode())
    time.sleep(1000)


@pytest.fixture
def leader() -> Iterator[tuple[multiprocessing.process.BaseProcess, Ident]]:
    """A child that leads a process group in which a program runs."""
    read, write = os.pipe()
    child = FORK.Process(target=lead_a_group_with_a_program, args=(write,))
    child.start()
    program = processes.identify(int(os.read(read, 20)))
    os.close(read)
    os.close(write)
    assert program is not None
    yield child, program
    child.kill()
    child.join()
    processes.kill(program)


def test_a_kept_child_that_leads_a_group_is_killed_with_it(
    leader: tuple[multiprocessing.process.BaseProcess, Ident],
) -> None:
    child, program = leader
    assert process_groups.kill_group(child)
    child.join(10)
    assert child.exitcode == -signal.SIGKILL
    eventually(lambda: not processes.is_alive(program))
    assert not process_groups.kill_group(child)  # reaped: its id may be somebody else's


def test_a_kept_child_in_our_group_is_killed_alone() -> None:
    child = FORK.Process(target=time.sleep, args=(1000,))
    child.start()
    assert process_groups.kill_group(child)
    child.join(10)
    assert child.exitcode == -signal.SIGKILL


def test_what_a_dead_leader_left_is_killed_only_before_it_is_reaped(
    leader: tuple[multiprocessing.process.BaseProcess, Ident],
) -> None:
    child, program = leader
    assert not process_groups.kill_group_of_the_dead(child)  # it isn't dead
    assert processes.is_alive(program)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    eventually(lambda: process_groups.kill_group_of_the_dead(child))
    eventually(lambda: not processes.is_alive(program))
    child.join()
    assert not process_groups.kill_group_of_the_dead(child)

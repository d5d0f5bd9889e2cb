"""A task that does its worst burns its own attempts and is told what it did; its neighbours in the batch notice nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from callboard.actors.task import Task
from tests.support.polling import eventually
from tests.support.server import Server
from tests.system import poison_tasks

BEFORE, AFTER = 10, 10
QUEUE = """
concurrency = 1
max_retries = 1
backoff = { strategy = "none" }
"""


@dataclass(frozen=True)
class Poison:
    """What is expected of a poison: every one of its errors, and where a traceback is due a piece of it."""

    name: str
    kind: str
    message: str
    exit: str | int | None = None
    trace: str | None = None
    timeout: str = "30s"
    starts: int = 0
    """So many processes it starts in an attempt."""


def crash(name: str, how: str, exit_: str | int, trace: str | None = None, starts: int = 0) -> Poison:
    return Poison(name, "crash", f"the worker process died of {how}", exit_, trace, starts=starts)


def error(name: str, message: str, trace: str | None, starts: int = 0) -> Poison:
    return Poison(name, "error", message, trace=trace, starts=starts)


def returned(name: str, message: str) -> Poison:
    return Poison(name, "returned", message)


def timeout(name: str, milliseconds: int = 200, starts: int = 0) -> Poison:
    message = f"killed: it ran longer than its timeout of {milliseconds} ms"
    return Poison(name, "timeout", message, timeout=f"{milliseconds}ms", starts=starts)


POISONS = [
    crash("segfault", "signal SIGSEGV", "SIGSEGV", "in segfault"),
    crash("abort", "signal SIGABRT", "SIGABRT", "in abort"),
    crash("exit_at_once", "exit code 7", 7),
    crash("exit_as_if_well", "exit code 0", 0),
    crash("kill_group", "signal SIGKILL", "SIGKILL"),
    # It can't be known who goes on without its files: the worker ends itself and leaves its reason.
    crash("close_all_files", "exit code 71", 71, "Bad file descriptor"),
    crash("close_really_all_files", "exit code 71", 71, "Bad file descriptor"),
    crash("replace_all_files", "exit code 71", 71, "IndexError"),
    crash("crash_beside_subprocesses", "signal SIGSEGV", "SIGSEGV", "in crash_beside_subprocesses", starts=2),
    error("sys_exit", "SystemExit: 3", "in sys_exit"),
    error("raise_base_exception", "BaseException: beneath contempt", "in raise_base_exception"),
    error("raise_keyboard_interrupt", "KeyboardInterrupt", "in raise_keyboard_interrupt"),
    error("recurse", "RecursionError: maximum recursion depth exceeded", "in recurse"),
    error("raise_unspeakable", "UnspeakableError: (its text can't be made)", "in raise_unspeakable"),
    error("raise_at_length", "ValueError: \0\udcffxxx", "xxx"),
    error("take_memory", "MemoryError (see the queue's max_memory)", "in take_memory"),
    # What it leaked would have made every later task fail: its worker is replaced.
    error("hoard_memory", "MemoryError (see the queue's max_memory)", "in hoard_memory"),
    error("leave_subprocess", "it left a subprocess running, which was killed: ", None, starts=1),
    error("leave_detached_subprocess", "it left a subprocess running, which was killed: ", None, starts=1),
    returned("return_object", "returned <object object at 0x"),
    returned("return_nan", "returned {'share': nan}, which can't be JSON: "),
    returned("return_set", "returned {1, 2}, which can't be JSON: "),
    returned("return_circle", "returned [[...]], which can't be JSON: "),
    returned("return_too_much", "returned 2,000,002 bytes of JSON, more than 1,000,000: "),
    timeout("sleep_for_ever"),
    timeout("ignore_signals"),
    timeout("catch_everything"),
    timeout("hold_the_interpreter"),
    timeout("wait_for_itself"),
    timeout("stop_itself"),
    timeout("never_return_beside_subprocesses", 1000, starts=2),  # time to start them
]
HARMLESS = [
    "print_garbage",
    "leave_alarm",  # it would end whoever is next
    "return_twice",  # its twin would go on with the batch as well
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    types = "".join(f'{name} = "{poison_tasks.PATH}"\n' for name in [*(poison.name for poison in POISONS), *HARMLESS])
    config = f"""
        [queues.poison]
        {QUEUE}
        [queues.poison.types]
        {types}
        overflow_stack = "{poison_tasks.PATH}"
        [queues.small]
        {QUEUE}
        max_memory = "64 MiB"
        [queues.small.types]
        take_memory = "{poison_tasks.PATH}"
        hoard_memory = "{poison_tasks.PATH}"
        """
    with Server(tmp_path_factory.mktemp("poison"), config) as server:
        yield server


def take(server: Server, name: str, pids: Path, timeout: str = "30s") -> tuple[Task, list[Task]]:
    """Submit a poison among its innocent neighbours, wait for all, and return it and them."""
    queue = "small" if name.endswith("memory") else "poison"
    with server.client() as client:
        # Of a type that has never run the queue gives out one task at a time.
        client.wait(client.enqueue(queue, type=name).id)
        tasks: list[dict[str, Any]] = [{"queue": queue, "type": name} for _ in range(BEFORE + 1 + AFTER)]
        tasks[BEFORE] |= {"context": {"poison": True, "pids": str(pids)}, "timeout": timeout}
        ended = [client.wait(task.id) for task in client.enqueue_many(tasks)]
    poison = ended.pop(BEFORE)
    assert len(hand_outs(server, ended[:BEFORE])) < BEFORE, "they were no batch"
    return poison, ended


def hand_outs(server: Server, tasks: list[Task]) -> set[int]:
    """Return the numbers of the batches in which tasks were handed out the last time."""
    with closing(sqlite3.connect(f"file:{server.data_dir}/callboard.db?mode=ro", uri=True)) as database:
        numbers = dict(database.execute("SELECT id, hand_out FROM tasks"))
    return {numbers[task.id] for task in tasks}


def assert_untouched(neighbours: list[Task]) -> None:
    assert [(task.state, task.attempt, list(task.errors)) for task in neighbours] == [("completed", 1, [])] * len(neighbours)


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.name)
def test_poison_burns_its_own_attempts_only(poison: Poison, server: Server, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.touch()
    task, neighbours = take(server, poison.name, pids, poison.timeout)
    assert_untouched(neighbours)
    assert (task.state, task.attempt, task.result, len(task.errors)) == ("dead", 2, None, 2)
    for number, failure in enumerate(task.errors, 1):
        assert (failure["attempt"], failure["kind"], failure["charged"]) == (number, poison.kind, True), failure
        assert failure["message"].startswith(poison.message), failure["message"]
        assert failure.get("exit") == poison.exit
        if poison.trace is None:
            assert failure.get("traceback") is None
        else:
            assert poison.trace in failure["traceback"]
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2 * poison.starts
    eventually(lambda: not any(map(psutil.pid_exists, started)))


@pytest.mark.parametrize("name", HARMLESS)
def test_what_makes_only_a_noise_does_no_harm(name: str, server: Server, tmp_path: Path) -> None:
    task, neighbours = take(server, name, tmp_path / "pids")
    assert_untouched([task, *neighbours])


def test_a_stack_without_end_is_a_crash_or_an_error(server: Server, tmp_path: Path) -> None:
    task, neighbours = take(server, "overflow_stack", tmp_path / "pids")
    assert_untouched(neighbours)
    assert (task.state, task.attempt) == ("dead", 2)
    # Some versions of Python notice it themselves.
    assert {(e["kind"], e.get("exit")) for e in task.errors} <= {("crash", "SIGSEGV"), ("error", None)}
    assert all("in _fall" in e["traceback"] for e in task.errors)

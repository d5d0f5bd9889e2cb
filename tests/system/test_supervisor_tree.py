"""The supervisor and its tree, in real processes that are killed."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
import psutil
import pytest

from callboard.actors import processes
from callboard.actors.processes import Ident
from callboard.actors.runtime import Runtime
from tests.support import plain_http
from tests.support.killing import stopped
from tests.support.polling import eventually
from tests.support.running import RunningTree

TOO_SILENT_SECONDS = 3.0
"""Longer than the tiny tree's server may be silent."""


def has_ended(ident: Ident) -> bool:
    return not processes.is_alive(ident)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[RunningTree]:
    with RunningTree(tmp_path / "data") as tree:
        yield tree


def test_it_says_once_where_it_is_and_answers_there(tree: RunningTree) -> None:
    url = tree.runtime().http
    assert tree.ready_line == f"Callboard is ready on {url} (data in {tree.data_dir})"
    assert len(eventually(tree.actors)) == 3


@pytest.mark.parametrize("role", ["server", "admin", "registry"])
def test_what_is_vital_comes_back_by_itself_when_it_is_killed(tree: RunningTree, role: str) -> None:
    before = tree.runtime()
    actors = eventually(tree.actors)
    old = tree.members()
    os.kill(before.pids[role].pid, signal.SIGKILL)
    eventually(lambda: not processes.is_alive(before.pids[role]))
    after = tree.runtime()
    assert after.http == before.http
    assert after.pids["supervisor"] == before.pids["supervisor"]
    assert not set(eventually(tree.actors)) & set(actors)
    left = {ident for ident in old if processes.is_alive(ident)} - {before.pids["supervisor"]}
    assert left == set()


def test_a_killed_logger_is_replaced_without_starting_over(tree: RunningTree) -> None:
    runtime = tree.runtime()
    actors = eventually(tree.actors)
    admin, logger = runtime.pids["admin"], runtime.pids["logger"]
    children = len(psutil.Process(admin.pid).children())
    os.kill(logger.pid, signal.SIGKILL)
    eventually(lambda: not processes.is_alive(logger))
    eventually(lambda: len(psutil.Process(admin.pid).children()) == children)
    assert eventually(tree.actors) == actors
    # The one that replaced it dies with the admin like the first.
    replacement = {ident for ident in processes.descendants(admin) if ident != logger}
    os.kill(admin.pid, signal.SIGKILL)
    eventually(lambda: not any(map(processes.is_alive, replacement)))
    assert eventually(tree.actors) != actors


def test_requests_wait_in_the_socket_while_the_server_is_started_over(tree: RunningTree) -> None:
    runtime = tree.runtime()
    eventually(tree.actors)
    os.kill(runtime.pids["server"].pid, signal.SIGKILL)
    eventually(lambda: not processes.is_alive(runtime.pids["server"]))
    answer = plain_http.get(f"{runtime.http}/pids", timeout=20).json()
    assert answer["server"] != runtime.pids["server"].pid


def test_a_server_killed_again_and_again_comes_back_after_a_growing_pause(tree: RunningTree) -> None:
    for _ in range(4):
        server = tree.runtime().pids["server"]
        os.kill(server.pid, signal.SIGKILL)
        eventually(partial(has_ended, server))
    assert eventually(tree.actors)
    tree.stop()


def test_a_stopped_registry_is_replaced(tree: RunningTree) -> None:
    runtime = tree.runtime()
    eventually(tree.actors)
    os.kill(runtime.pids["registry"].pid, signal.SIGSTOP)
    eventually(lambda: not processes.is_alive(runtime.pids["registry"]), within=25)
    assert eventually(tree.actors)


def test_a_stopped_server_is_replaced(tree: RunningTree) -> None:
    runtime = tree.runtime()
    eventually(tree.actors)
    os.kill(runtime.pids["server"].pid, signal.SIGSTOP)
    eventually(lambda: not processes.is_alive(runtime.pids["server"]), within=30)
    assert eventually(tree.actors)


def test_a_server_that_was_frozen_together_with_its_supervisor_goes_on(tree: RunningTree) -> None:
    runtime = tree.runtime()
    actors = eventually(tree.actors)
    server = runtime.pids["server"]
    looks = partial(_looks, psutil.Process(tree.pid))
    with stopped(server):
        with stopped(runtime.pids["supervisor"]):
            frozen_at = time.monotonic()
            eventually(lambda: time.monotonic() - frozen_at > TOO_SILENT_SECONDS)
            before = looks()
        # The supervisor looks before the server has had a chance to give a sign of life.
        eventually(lambda: looks() > before + 1 or has_ended(server))
        assert processes.is_alive(server)
    thawed = looks()
    eventually(lambda: looks() > thawed + 5)
    assert tree.runtime().pids["server"] == server
    assert eventually(tree.actors) == actors


def _looks(supervisor: psutil.Process) -> int:
    """Return how often a process that only ever waits and looks has begun to wait."""
    return supervisor.num_ctx_switches().voluntary


def test_nothing_survives_a_killed_supervisor_and_the_next_one_starts_on_the_same_data(tree: RunningTree) -> None:
    eventually(tree.actors)
    assert len(tree.members()) >= 8
    os.kill(tree.pid, signal.SIGKILL)
    tree.process.wait(10)
    eventually(lambda: not tree.survivors(), within=5)
    with RunningTree(tree.data_dir) as successor:
        assert eventually(successor.actors)
        assert successor.stop() == 0


def test_a_member_that_was_stopped_while_its_supervisor_died_holds_up_nobody(tree: RunningTree) -> None:
    runtime = tree.runtime()
    eventually(tree.actors)
    tree.members()
    for role in ("server", "admin"):
        os.kill(runtime.pids[role].pid, signal.SIGSTOP)
    os.kill(tree.pid, signal.SIGKILL)
    tree.process.wait(10)
    with RunningTree(tree.data_dir) as successor:
        assert tree.survivors() == set()
        assert eventually(successor.actors)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_ends_all_with_exit_code_0(tree: RunningTree, number: int) -> None:
    eventually(tree.actors)
    assert tree.stop(number) == 0
    assert tree.survivors() == set()
    assert Runtime.read(tree.data_dir) is None
    assert sorted(path.name for path in tree.data_dir.rglob("*")) == ["lock", "run"]


def test_a_second_stop_signal_ends_all_at_once(tmp_path: Path) -> None:
    with RunningTree(tmp_path / "data", ["0", "600"]) as tree:
        runtime = tree.runtime()
        eventually(tree.actors)
        # A Registry that does not answer would be waited for as long as the grace says.
        os.kill(runtime.pids["registry"].pid, signal.SIGSTOP)
        tree.members()
        os.kill(tree.pid, signal.SIGTERM)
        eventually(lambda: not _accepts(runtime.http))
        assert tree.process.poll() is None
        assert tree.stop() == 1
        assert tree.survivors() == set()


def _accepts(url: str) -> bool:
    try:
        plain_http.get(url, timeout=1)
    except httpx2.HTTPError:
        return False
    return True


def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(tree: RunningTree) -> None:
    actors = eventually(tree.actors)
    code, output, errors = RunningTree(tree.data_dir).outcome()
    assert code == 1
    assert output == ""
    url = tree.runtime().http
    expected = f"callboard: the data directory {tree.data_dir} is in use by the server with process id {tree.pid} on {url}\n"
    assert errors == expected
    assert tree.actors() == actors


def test_a_removed_lock_file_lets_no_second_server_in(tree: RunningTree) -> None:
    actors = eventually(tree.actors)
    (tree.data_dir / "lock").unlink()
    code, _, errors = RunningTree(tree.data_dir).outcome()
    assert code == 1
    assert "is in use" in errors
    assert tree.actors() == actors


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output, errors = RunningTree(tmp_path / "data", [str(port)]).outcome()
    assert code == 1
    assert output == ""
    assert errors == f"callboard: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_a_data_directory_that_is_a_file_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    code, output, errors = RunningTree(tmp_path / "data").outcome()
    assert code == 1
    assert output == ""
    assert errors == f"callboard: the data directory {tmp_path / 'data'} cannot be used: File exists\n"


def test_a_registry_that_refuses_to_start_ends_the_first_start_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "refuse").touch()
    code, output, errors = RunningTree(tmp_path / "data").outcome()
    assert code == 1
    assert output == ""
    assert errors.splitlines()[-1] == "callboard: told to refuse"


def test_a_registry_that_never_comes_up_is_given_up_after_a_few_tries(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "die").touch()
    code, output, errors = RunningTree(tmp_path / "data").outcome()
    assert code == 1
    assert output == ""
    assert errors.count("starting over") == 4
    assert errors.splitlines()[-1].startswith("callboard: the ")  # who notices first is a matter of microseconds

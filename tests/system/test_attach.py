"""Attach to a server, to another one, and to none."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from callboard.actors import processes
from callboard.actors.asking import ask
from callboard.actors.errors import ServerNotRunning
from callboard.actors.messages import Ping, Pong
from callboard.actors.runtime import Runtime
from callboard.actors.system import address_text, attach, detach, registry_address
from tests.support.running import RunningTree
from tests.support.systems import new_id


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[RunningTree]:
    with RunningTree(tmp_path / "data") as tree:
        yield tree


def registry_pid(runtime: Runtime) -> int:
    """Attach, ping the Registry through a private endpoint, detach."""
    actor_system = attach(runtime)
    try:
        with actor_system.private() as endpoint:
            reply = ask(endpoint, registry_address(runtime), Ping(new_id()), 5.0)
    finally:
        detach(actor_system)
    assert isinstance(reply, Pong)
    return reply.pid


def test_attaching_again_and_to_another_server_works(tree: RunningTree, tmp_path: Path) -> None:
    with RunningTree(tmp_path / "other") as other:
        for runtime in (tree.runtime(), other.runtime(), tree.runtime(), tree.runtime()):
            assert registry_pid(runtime) == runtime.pids["registry"].pid


def test_detaching_leaves_the_server_running(tree: RunningTree) -> None:
    runtime = tree.runtime()
    registry_pid(runtime)
    assert all(map(processes.is_alive, runtime.pids.values()))


def test_the_registrys_address_is_what_the_runtime_file_says(tree: RunningTree) -> None:
    runtime = tree.runtime()
    assert address_text(registry_address(runtime)) == runtime.registry


@pytest.mark.parametrize("known", [True, False])
def test_where_no_server_runs_any_more_attaching_fails_and_starts_nothing(tree: RunningTree, known: bool) -> None:
    runtime = tree.runtime()
    key = Path(runtime.key_path).read_bytes()
    tree.stop()
    if not known:  # even if nothing told that it has ended
        Path(runtime.key_path).write_bytes(key)
        runtime = replace(runtime, pids={})
    before = psutil.Process().children(recursive=True)
    with pytest.raises(ServerNotRunning):
        attach(runtime)
    assert set(psutil.Process().children(recursive=True)) <= set(before)


def test_without_its_key_a_server_cannot_be_attached_to(tree: RunningTree) -> None:
    runtime = tree.runtime()
    Path(runtime.key_path).unlink()
    with pytest.raises(ServerNotRunning, match="key"):
        attach(runtime)


def test_with_a_wrong_key_a_server_cannot_be_attached_to(tree: RunningTree, tmp_path: Path) -> None:
    runtime = tree.runtime()
    wrong = tmp_path / "wrong"
    wrong.write_bytes(bytes(32))
    with pytest.raises(ServerNotRunning):
        attach(replace(runtime, key_path=str(wrong)))
    assert registry_pid(runtime) == runtime.pids["registry"].pid


def test_a_server_that_is_stopped_cannot_be_attached_to(tree: RunningTree) -> None:
    runtime = tree.runtime()
    os.kill(runtime.pids["admin"].pid, signal.SIGSTOP)
    with pytest.raises(ServerNotRunning):
        attach(runtime)


def test_asking_an_actor_that_dies_meanwhile_ends_with_it(tree: RunningTree) -> None:
    runtime = tree.runtime()
    actor_system = attach(runtime)
    try:
        os.kill(runtime.pids["registry"].pid, signal.SIGKILL)
        registry = runtime.pids["registry"]
        assert (
            ask(actor_system, registry_address(runtime), Ping(new_id()), 60.0, lambda: processes.is_alive(registry)) is None
        )
    finally:
        detach(actor_system)

"""A data directory belongs to one server at a time, and what a dead one has left in it is in nobody's way."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors import processes
from callboard.actors.data_directory import claim
from callboard.actors.errors import DataDirectoryInUse
from callboard.actors.processes import Ident
from callboard.actors.runtime import LOCK_FILE, Runtime, make_private_folder, run_folder, runtime_path


@pytest.fixture
def bystander() -> Iterator[Ident]:
    """A process that has nothing to do with any server."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        ident = processes.identify(process.pid)
        assert ident is not None
        try:
            yield ident
        finally:
            process.kill()


def leave_runtime(folder: Path, pids: dict[str, Ident], boot_id: str) -> None:
    """Leave the file of a server that has not come to removing it."""
    make_private_folder(run_folder(folder))
    Runtime(
        http="http://127.0.0.1:4000",
        admin_port=1,
        key_path="",
        registry="",
        store_url="memory:",
        data_dir=str(folder),
        pids=pids,
        boot_id=boot_id,
    ).write()


def test_a_directory_is_claimed_by_one_only_who_is_named_to_others(tmp_path: Path) -> None:
    lock = claim(tmp_path)
    with pytest.raises(DataDirectoryInUse, match=rf"is in use by the server with process id {os.getpid()}$"):
        claim(tmp_path)
    os.close(lock)
    os.close(claim(tmp_path))


def test_a_server_that_has_not_yet_named_itself_has_claimed_it_too(tmp_path: Path) -> None:
    lock = claim(tmp_path)
    (tmp_path / LOCK_FILE).write_text("")
    with pytest.raises(DataDirectoryInUse, match=r"is in use by another server$"):
        claim(tmp_path)
    os.close(lock)


def test_processes_of_before_the_machine_was_started_anew_are_nobodys(tmp_path: Path, bystander: Ident) -> None:
    # Ids and start times begin anew with the machine, so the same may name somebody else.
    leave_runtime(tmp_path, {"supervisor": bystander, "server": bystander}, boot_id="before the power cut")
    os.close(claim(tmp_path))
    assert processes.is_alive(bystander)
    assert not runtime_path(tmp_path).exists()

"""A disk that is full: the queue says so and takes nothing; with room again it goes on by itself, and nothing is lost."""

import contextlib
import errno
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from callboard.actors.processes import Ident
from tests.support import plain_http
from tests.support.killing import children, kill
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server

CONFIG = f"""
[queues.first]
worker = "{PATH}"
concurrency = 2
[queues.second]
worker = "{PATH}"
concurrency = 1
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Make a file system of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(ballast: Path) -> None:
    """Take all room that there is, to the last block."""
    with pytest.raises(OSError, match=r".") as refusal, ballast.open("ab", buffering=0) as file:  # noqa: PT012
        while True:
            file.write(b"x" * 4096)
    assert refusal.value.errno == errno.ENOSPC


def submit_until_refused(url: str, task: dict[str, Any]) -> tuple[list[str], httpx2.Response]:
    """Submit a task again and again; return the ids of those that were accepted, and the refusal."""
    accepted: list[str] = []
    while True:
        answer = plain_http.post(f"{url}/api/tasks", json=task, timeout=30)
        if answer.status_code != 201:
            return accepted, answer
        accepted.append(answer.json()["data"]["id"])
        assert len(accepted) < 500, "the disk is not full"


def test_a_full_disk_loses_nothing_and_is_left_behind_without_a_restart(small_disk: Path, tmp_path: Path) -> None:
    ledger, end = Ledger(tmp_path / "ledger"), tmp_path / "end"
    big = {"text": "x" * 100_000}
    with Server(tmp_path, CONFIG, data_dir=small_disk / "data") as server, server.client() as client:
        ids = [client.enqueue("first", ledger.context(until=str(end), **big)).id for _ in range(6)]
        eventually(lambda: len(ledger.running()) == 2)
        fill(small_disk / "ballast")

        for context in (ledger.context(**big), ledger.context()):
            accepted, answer = submit_until_refused(server.url, {"queue": "first", "context": context})
            ids += accepted
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert "disk is full: make room" in answer.json()["detail"]
            assert answer.headers["retry-after"]
        # Now something has to be stored that nobody waits for: how the running ones end.
        end.touch()
        shown = eventually(lambda: (queue := server.queue("first"))["state"] == "degraded" and queue)
        assert "disk is full" in shown["why"]
        assert client.get(ids[0]).state == "executing"

        (small_disk / "ballast").unlink()
        tasks = [client.wait(task_id) for task_id in ids]
        eventually(lambda: server.queue("first")["state"] == "running")
        assert server.queue("first")["counts"]["completed"] == len(tasks)
        tasks.append(client.wait(client.enqueue("second", ledger.context()).id))
    assert [(task.state, task.attempt, task.errors) for task in tasks] == [("completed", 1, [])] * len(tasks)
    assert sorted(run.task for run in ledger.runs()) == sorted(task.id for task in tasks)


def held(owner: Ident, folder: Path) -> list[str]:
    """Return what a process has open of the files in a folder."""
    targets = []
    for descriptor in Path(f"/proc/{owner.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            targets.append(str(descriptor.readlink()))
    return [target for target in targets if target.startswith(str(folder))]


def test_a_worker_that_dies_on_a_full_disk_is_replaced_when_there_is_room_and_not_forked_before(
    small_disk: Path, tmp_path: Path
) -> None:
    ledger, end = Ledger(tmp_path / "ledger"), tmp_path / "end"
    with Server(tmp_path, CONFIG, data_dir=small_disk / "data") as server, server.client() as client:
        ids = [client.enqueue("first", ledger.context(until=str(end)), backoff_ms=10).id for _ in range(2)]
        eventually(lambda: len(ledger.running()) == 2)
        owner, victim = server.owner("first"), server.workers("first", 2)[0]
        fill(small_disk / "ballast")
        for context in (ledger.context(text="x" * 100_000), ledger.context()):
            ids += submit_until_refused(server.url, {"queue": "first", "context": context})[0]
        fill(small_disk / "ballast")

        # What ran there can't be stored, so its files are kept, and there is no room for others.
        kill(victim)
        eventually(lambda: "workers can't start: their files can't be made: No space left on device" in server.log())
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert len(children(owner)) <= 2
            assert len(held(owner, small_disk / "data" / "run")) <= 4  # those of one worker, and what was just tried
        assert server.queue("first")["state"] == "degraded"

        (small_disk / "ballast").unlink()
        end.touch()
        tasks = [client.wait(task_id) for task_id in ids]
        eventually(lambda: server.queue("first")["state"] == "running")
        assert len(server.workers("first", 2)) == 2
        assert server.owner("first") == owner
        assert server.log().count("workers can't start") == 1
    assert [task.state for task in tasks] == ["completed"] * len(tasks)
    assert sorted(task.attempt for task in tasks)[-2:] == [1, 2]

"""A disk that is full: the queue says so and takes nothing; with room again it goes on by itself, and nothing is lost."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

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


def test_a_full_disk_loses_nothing_and_is_left_behind_without_a_restart(small_disk: Path, tmp_path: Path) -> None:
    ledger, end = Ledger(tmp_path / "ledger"), tmp_path / "end"
    big = {"text": "x" * 100_000}
    with Server(tmp_path, CONFIG, data_dir=small_disk / "data") as server, server.client() as client:
        before = [client.enqueue("first", ledger.context(until=str(end), **big)).id for _ in range(6)]
        eventually(lambda: len(ledger.running()) == 2)
        fill(small_disk / "ballast")

        accepted = []
        for _ in range(200):
            answer = httpx2.post(
                f"{server.url}/api/tasks", json={"queue": "first", "context": ledger.context(**big)}, timeout=30
            )
            if answer.status_code != 201:
                break
            accepted.append(answer.json()["data"]["id"])
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert "disk is full: make room" in answer.json()["detail"]
        assert answer.headers["retry-after"]
        shown = eventually(lambda: (queue := server.queue("first"))["state"] == "degraded" and queue)
        assert "disk is full" in shown["why"]
        # What runs may end meanwhile: how it ended is told once there is room.
        end.touch()
        eventually(lambda: ledger.ended() >= 2)
        assert httpx2.get(f"{server.url}/api/tasks/{before[0]}").status_code == 200

        (small_disk / "ballast").unlink()
        tasks = [client.wait(task_id) for task_id in [*before, *accepted]]
        eventually(lambda: server.queue("first")["state"] == "running")
        later = client.wait(client.enqueue("second", ledger.context()).id)
        assert server.queue("first")["counts"]["completed"] == len(tasks)
    assert [(task.state, task.attempt, task.errors) for task in [*tasks, later]] == [("completed", 1, [])] * (len(tasks) + 1)
    assert len(ledger.runs()) == len(tasks) + 1

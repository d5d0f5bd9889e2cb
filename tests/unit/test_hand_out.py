"""Tokens on real files, and tokens and journal between processes of which one is killed."""

import contextlib
import os
import random
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.hand_out import MAX_BATCH, JournalReader, JournalWriter, Mark, Tokens, read_left_behind, record
from callboard.actors.worker_files import QueueFolder, WorkerFiles

ROUNDS = 200
BOOT = "boot-1"


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[tuple[Tokens, Tokens]]:
    """A Queue's end and a worker's."""
    queue = Tokens.create(tmp_path / "tokens")
    worker = Tokens(tmp_path / "tokens")
    yield queue, worker
    queue.close()
    worker.close()


def test_tokens_are_taken_in_order_each_once(tokens: tuple[Tokens, Tokens]) -> None:
    queue, worker = tokens
    assert worker.take() is None
    queue.put(bytes(range(MAX_BATCH)))
    assert [worker.take() for _ in range(MAX_BATCH)] == list(range(MAX_BATCH))
    assert worker.take() is None


def test_what_is_taken_back_is_what_nobody_has_taken(tokens: tuple[Tokens, Tokens]) -> None:
    queue, worker = tokens
    queue.put(bytes([0, 1, 2, 3]))
    assert worker.take() == 0
    assert queue.take_all() == bytes([1, 2, 3])
    assert queue.take_all() == b""
    assert worker.take() is None


def test_an_empty_batch_offers_nothing(tokens: tuple[Tokens, Tokens]) -> None:
    queue, worker = tokens
    queue.put(b"")
    assert worker.take() is None


def test_tokens_outlive_the_worker_that_did_not_take_them(tmp_path: Path) -> None:
    queue = Tokens.create(tmp_path / "tokens")
    worker = Tokens(tmp_path / "tokens")
    queue.put(bytes([7, 8]))
    worker.close()
    assert queue.take_all() == bytes([7, 8])
    queue.close()


def test_nobody_else_may_read_the_files_of_a_worker(tmp_path: Path) -> None:
    folder = QueueFolder(tmp_path / "mail", BOOT, 1)
    folder.clear()
    queue, reader = folder.create("w1-1")
    files = folder.files("w1-1")
    assert stat.S_ISFIFO(files.tokens.stat().st_mode)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (files.tokens, files.journal)] == [0o600, 0o600]
    assert stat.S_IMODE(files.tokens.parent.stat().st_mode) == 0o700
    queue.close()
    reader.close()


def test_no_index_is_in_two_places_and_none_is_lost_when_a_worker_is_killed(tmp_path: Path) -> None:
    """Take back and kill a real process at any moment, two hundred times.

    Each index is begun, taken back, or (at most one) taken and not begun: that one goes back as well.
    """
    rng = random.Random(1)
    seen = {"begun": 0, "back": 0, "between": 0}
    for number in range(1, ROUNDS + 1):
        files = WorkerFiles.of(tmp_path, f"w{number}")
        queue, reader = Tokens.create(files.tokens), JournalReader(files.journal, BOOT, 1)
        queue.put(bytes(range(MAX_BATCH)))
        child = os.fork()
        if child == 0:
            _work_until_killed(files, number)
        _until_it_has_begun(reader, rng.randrange(1, 20))
        back = queue.take_all() if rng.random() < 0.5 else b""
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        back += queue.take_all()
        left = read_left_behind(files.journal, BOOT)
        assert left is not None
        started = [each.token for each in left if each.mark == Mark.BEGUN]
        ended = [each.token for each in left if each.mark == Mark.COMPLETED]
        assert len(set(started)) == len(started), "begun twice"
        assert set(started).isdisjoint(back), "begun and taken back"
        assert len(set(back)) == len(back), "taken back twice"
        assert 0 <= len(started) - len(ended) <= 1
        between = set(range(MAX_BATCH)) - set(started) - set(back)
        assert len(between) <= 1, "lost"
        seen["begun"] += len(started)
        seen["back"] += len(back)
        seen["between"] += len(between)
        queue.close()
        reader.close()
    # The rounds were worth something only if they were cut at different points.
    assert seen["begun"] > ROUNDS
    assert seen["back"] > ROUNDS


def _work_until_killed(files: WorkerFiles, number: int) -> None:
    """Do in a child what `actors/worker.py` does with tasks that take no time, until the kill comes."""
    with contextlib.suppress(BaseException):  # a forked child must never go on as pytest: it ends below
        tokens, journal = Tokens(files.tokens), JournalWriter(files.journal)
        ended = b""
        while (token := tokens.take()) is not None:
            journal.write(ended + record(number, token, Mark.BEGUN, 1))
            ended = record(number, token, Mark.COMPLETED, 2, b"null")
        journal.write(ended)
        signal.pause()
    os._exit(0)


def _until_it_has_begun(reader: JournalReader, count: int) -> None:
    deadline = time.monotonic() + 10
    seen = 0
    while seen < count:
        seen += len(reader.read())
        assert time.monotonic() < deadline

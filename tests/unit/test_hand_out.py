"""Tokens and journal on real files, and between processes of which one is killed."""

import contextlib
import errno
import os
import random
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors import hand_out
from callboard.actors.hand_out import (
    MAX_BATCH,
    JournalReader,
    JournalWriter,
    Mark,
    Record,
    Tokens,
    read_left_behind,
    record,
)
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


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[tuple[JournalReader, JournalWriter]]:
    """A Queue's end and a worker's."""
    reader = JournalReader(tmp_path / "journal", BOOT, 1)
    writer = JournalWriter(tmp_path / "journal")
    yield reader, writer
    reader.close()
    writer.close()


def begun(token: int, number: int = 1) -> bytes:
    return record(number, token, Mark.BEGUN, 10)


# ---------------------------------------------------------------- tokens


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
    folder = QueueFolder(tmp_path, "mail", BOOT, 1)
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
    with contextlib.suppress(BaseException):
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


# ---------------------------------------------------------------- journal


def test_records_are_read_once_as_they_were_written(journal: tuple[JournalReader, JournalWriter]) -> None:
    reader, writer = journal
    assert reader.read() == []
    writer.write(begun(0))
    assert reader.read() == [Record(1, 0, Mark.BEGUN, 10, b"")]
    writer.write(record(1, 0, Mark.COMPLETED, 2**60, b'{"a": 1}') + begun(255, number=2**63))
    assert reader.read() == [Record(1, 0, Mark.COMPLETED, 2**60, b'{"a": 1}'), Record(2**63, 255, Mark.BEGUN, 10, b"")]
    assert reader.read() == []


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**64 - 1),
            st.integers(0, 255),
            st.sampled_from(list(Mark)),
            st.integers(0, 2**64 - 1),
            st.binary(max_size=100),
        ),
        max_size=5,
    ),
    st.integers(0, 200),
)
def test_a_torn_end_is_ignored_wherever_it_is_torn(lines: list[tuple[int, int, Mark, int, bytes]], lost: int) -> None:
    written = [record(*line) for line in lines]
    content = b"".join(written)
    torn = content[: max(len(content) - lost, 0)]
    whole: list[Record] = []
    for line, text in zip(lines, written, strict=True):
        if len(b"".join(written[: len(whole) + 1])) > len(torn):
            break
        assert text
        whole.append(Record(*line))
    records, end = hand_out._parse(torn)
    assert records == whole
    assert end == len(b"".join(written[: len(whole)]))


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_damaged_record_is_not_believed_nor_what_follows_it(position: int, change: int) -> None:
    first, second, third = begun(0), record(1, 0, Mark.COMPLETED, 11, b'"result"'), begun(1)
    damaged = bytearray(second)
    position %= len(damaged)
    damaged[position] ^= change
    assert hand_out._parse(first + bytes(damaged) + third)[0] == [Record(1, 0, Mark.BEGUN, 10, b"")]


def test_a_record_that_is_still_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    reader = JournalReader(tmp_path / "journal", BOOT, 1)
    text = record(1, 0, Mark.COMPLETED, 11, b'"result"')
    with (tmp_path / "journal").open("ab", buffering=0) as file:
        for index in range(len(text)):
            assert reader.read() == []
            file.write(text[index : index + 1])
    assert [each.payload for each in reader.read()] == [b'"result"']
    reader.close()


@pytest.mark.parametrize("short", [0, 5])
def test_on_a_full_disk_a_worker_waits_and_leaves_no_torn_record(
    journal: tuple[JournalReader, JournalWriter], monkeypatch: pytest.MonkeyPatch, short: int
) -> None:
    """short: how many bytes there is still space for."""
    reader, writer = journal
    write = os.write
    waits: list[float] = []
    answers: list[list[Record]] = []

    def write_to_full_disk(descriptor: int, content: bytes) -> int:
        if descriptor == writer._fd and len(waits) < 2:
            if not short:
                raise OSError(errno.ENOSPC, "no space")
            return write(descriptor, content[:short])
        return write(descriptor, content)

    def wait(seconds: float) -> None:
        waits.append(seconds)
        answers.append(reader.read())

    monkeypatch.setattr(os, "write", write_to_full_disk)
    monkeypatch.setattr(time, "sleep", wait)
    writer.write(begun(0))
    writer.write(begun(1))
    assert [each.token for each in reader.read()] == [0, 1]
    assert len(waits) == 2
    assert answers == [[], []]


def test_an_error_that_is_no_full_disk_is_raised(journal: tuple[JournalReader, JournalWriter]) -> None:
    _, writer = journal
    closed = JournalWriter.__new__(JournalWriter)
    closed._fd = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        closed.write(begun(0))
    os.close(closed._fd)
    writer.write(begun(0))


def test_a_large_journal_begins_anew_once_it_has_been_read(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    reader, writer = JournalReader(path, BOOT, 1), JournalWriter(path)
    empty = path.stat().st_size
    writer.write(record(1, 0, Mark.COMPLETED, 1, b"x" * 999_000))
    reader.read()
    reader.begin_anew()
    assert path.stat().st_size > 999_000  # not large enough to be worth it
    writer.write(record(2, 0, Mark.COMPLETED, 1, b"x" * 999_000))
    reader.read()
    reader.begin_anew()
    assert path.stat().st_size == empty
    writer.write(begun(4, number=3))
    assert [(each.number, each.token) for each in reader.read()] == [(3, 4)]
    assert [each.number for each in read_left_behind(path, BOOT) or []] == [3]
    reader.close()
    writer.close()


# ---------------------------------------------------------------- what is left behind


def test_a_journal_from_before_the_machines_last_start_is_not_believed(tmp_path: Path) -> None:
    reader, writer = JournalReader(tmp_path / "journal", BOOT, 1), JournalWriter(tmp_path / "journal")
    writer.write(begun(0))
    assert read_left_behind(tmp_path / "journal", BOOT) == [Record(1, 0, Mark.BEGUN, 10, b"")]
    assert read_left_behind(tmp_path / "journal", "boot-2") is None
    assert read_left_behind(tmp_path / "journal", "boot") is None
    reader.close()
    writer.close()


@pytest.mark.parametrize("content", [b"", b"\n", b"something else\n", b"callboard journal 1 boot-1"])
def test_a_file_that_is_no_journal_of_ours_is_not_believed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal").write_bytes(content)
    assert read_left_behind(tmp_path / "journal", BOOT) is None


def test_a_folder_tells_what_all_its_workers_did_and_is_then_cleared(tmp_path: Path) -> None:
    for boot, incarnation, worker, number in ((BOOT, 1, "w1-1", 5), (BOOT, 2, "w2-1", 6), ("older", 1, "w0-1", 4)):
        folder = QueueFolder(tmp_path, "mail", boot, incarnation)
        folder._folder.mkdir(parents=True, exist_ok=True)
        tokens, reader = folder.create(worker)
        writer = JournalWriter(folder.files(worker).journal)
        writer.write(begun(3, number) + record(number, 3, Mark.COMPLETED, 12, b"null"))
        for each in (tokens, reader, writer):
            each.close()
    folder = QueueFolder(tmp_path, "mail", BOOT, 3)
    left = folder.left_behind()
    assert left.workers == {"w1-1", "w2-1"}
    assert {key: [each.mark for each in records] for key, records in left.records.items()} == {
        (5, 3): [Mark.BEGUN, Mark.COMPLETED],
        (6, 3): [Mark.BEGUN, Mark.COMPLETED],
    }
    folder.clear()
    assert folder.left_behind().workers == set()


def test_the_stack_of_a_crash_is_read_and_cut(tmp_path: Path) -> None:
    files = WorkerFiles.of(tmp_path, "w1-1")
    assert files.read_trace() is None
    files.trace.write_bytes(b"")
    assert files.read_trace() is None
    files.trace.write_bytes(b"Fatal \xff error" + b"x" * 10_000)
    trace = files.read_trace()
    assert trace is not None
    assert trace.startswith("Fatal \N{REPLACEMENT CHARACTER} error")
    assert len(trace) == 8_000
    files.remove()
    assert not files.trace.exists()

"""The journal on real files: what was written is read once, what is torn or damaged or too old is not believed."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors import hand_out
from callboard.actors.hand_out import JournalReader, JournalWriter, Mark, Record, read_left_behind, record
from callboard.actors.worker_files import QueueFolder, WorkerFiles

BOOT = "boot-1"


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
        folder = QueueFolder(tmp_path / "mail", boot, incarnation)
        folder._folder.mkdir(parents=True, exist_ok=True)
        tokens, reader = folder.create(worker)
        writer = JournalWriter(folder.files(worker).journal)
        writer.write(begun(3, number) + record(number, 3, Mark.COMPLETED, 12, b"null"))
        for each in (tokens, reader, writer):
            each.close()
    folder = QueueFolder(tmp_path / "mail", BOOT, 3)
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

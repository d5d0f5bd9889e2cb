"""What SQLite's store does when its process, its file or its disk fails."""

import os
import resource
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from callboard.actors.errors import DuplicateTask, SettingsError, StoreTooNew, StoreUnavailable
from callboard.actors.store import QueueStore, Store, TaskFilter
from callboard.actors.store.opening import open_store
from callboard.actors.task import TaskState
from tests.store.made import NOW, QUEUE, insert, put, task_id, url
from tests.store.processes import line, start

ORDINARY_USER = 65_534


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk; the test with a limit on files covers the same code")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def big(number: int) -> str:
    return '{"text": "' + str(number) * 100_000 + '"}'


def put_big(owner: QueueStore, end: int) -> None:
    for number in range(2, end):
        put(owner, insert(number, context=big(number)))


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_kill_in_the_middle_of_a_transaction_leaves_nothing_of_it(path: Path, opened: tuple[Store, QueueStore]) -> None:
    store, _ = opened
    with start("stay_in_transaction", path) as writer:
        assert line(writer) == "written"
        writer.kill()
        writer.wait()
    owner, ownership = store.own(QUEUE)
    assert (sum(ownership.counts.values()), ownership.last_rank) == (0, 0)
    assert store.page(TaskFilter(), 10, None).tasks == []
    put(owner, insert(1))
    owner.close()
    assert is_sound(path)


@pytest.mark.parametrize("commits", [1, 7, 40])
def test_a_kill_at_any_moment_leaves_whole_transactions_and_all_that_were_committed(path: Path, commits: int) -> None:
    with start("submit_tens", path) as writer:
        committed = 0
        for _ in range(commits):
            committed = int(line(writer))
        writer.kill()
        writer.wait()
    with closing(open_store(url(path))) as store:
        stored = store.counts()[QUEUE][TaskState.AVAILABLE]
        assert stored >= committed
        assert stored % 10 == 0
        assert len(store.matching_ids(TaskFilter(queue=QUEUE), stored + 10)) == stored
    assert is_sound(path)


def test_a_full_disk_is_reported_and_the_store_goes_on_once_there_is_room(small_disk: Path) -> None:
    path = small_disk / "callboard.db"
    store = open_store(url(path))
    store.put_queue(QUEUE, "{}", "", NOW)
    owner, _ = store.own(QUEUE)
    put(owner, insert(1))
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        fill(ballast)
    with pytest.raises(StoreUnavailable, match="disk is full: make room"):
        put_big(owner, 200)
    stored = store.counts()[QUEUE][TaskState.AVAILABLE]
    assert store.get(task_id(stored + 1)) is None
    ballast.unlink()
    put(owner, insert(stored + 1, context=big(1)))
    assert store.counts()[QUEUE][TaskState.AVAILABLE] == stored + 1
    assert store.get(task_id(stored + 1)) is not None
    owner.close()
    store.close()
    assert is_sound(path)


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores SIGXFSZ: writes fail instead
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_may_not_grow_is_reported_and_the_store_goes_on(path: Path, opened: tuple[Store, QueueStore]) -> None:
    store, owner = opened
    put(owner, insert(1))
    with no_file_longer_than(200_000), pytest.raises(StoreUnavailable, match="full"):
        put_big(owner, 20)
    stored = store.counts()[QUEUE][TaskState.AVAILABLE]
    put(owner, insert(100))
    assert store.counts()[QUEUE][TaskState.AVAILABLE] == stored + 1
    assert len(store.matching_ids(TaskFilter(), 100)) == stored + 1


def test_a_damaged_file_says_so_and_what_to_do(path: Path) -> None:
    with closing(open_store(url(path))) as store:
        owner, _ = store.own(QUEUE)
        put(owner, *(insert(number) for number in range(2_000)))
        owner.close()
        store.close()
        content = bytearray(path.read_bytes())
        content[4096 * 3 :] = b"\xff" * (len(content) - 4096 * 3)  # all pages but the first ones
        path.write_bytes(content)
        damaged = r"malformed .*: the database file is damaged: stop the server"
        with pytest.raises(StoreUnavailable, match=damaged):
            store.page(TaskFilter(), 10, None)
        with pytest.raises(StoreUnavailable, match=damaged):
            store.own(QUEUE)
        with pytest.raises(StoreUnavailable, match=damaged):
            store.put_queue(QUEUE, "{}", "", NOW)


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "callboard.db"
    path.write_text("Dear diary, " * 1_000)
    with pytest.raises(StoreUnavailable, match="this is not a database file"):
        open_store(url(path))


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "callboard.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE tasks (title TEXT)")
    with pytest.raises(StoreUnavailable, match="database of another program"):
        open_store(url(path))


def test_a_newer_schema_is_refused_with_what_to_do(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(StoreTooNew, match=r"its schema is 0999.*upgrade Callboard"):
        open_store(url(path))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0999",)


def test_a_folder_that_is_not_there_says_what_to_check(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"No such file or directory .*check that its folder exists"):
        open_store(url(tmp_path / "nowhere" / "callboard.db"))


@contextmanager
def as_an_ordinary_user(folder: Path) -> Iterator[None]:
    """Be somebody whom file modes apply to; the folder and what is in it are theirs."""
    if os.geteuid() != 0:
        yield
        return
    for file in (folder, *folder.iterdir()):
        os.chown(file, ORDINARY_USER, ORDINARY_USER)
    os.seteuid(ORDINARY_USER)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_says_what_to_check() -> None:
    with TemporaryDirectory() as name:  # not below pytest's own folder, which is closed to other users
        folder = Path(name)
        path = folder / "callboard.db"
        with closing(open_store(url(path))) as store:
            store.put_queue(QUEUE, "{}", "", NOW)
        with as_an_ordinary_user(folder):
            folder.chmod(0o555)
            with pytest.raises(StoreUnavailable, match=r"check .*its folder"):
                open_store(url(path))
            with pytest.raises(StoreUnavailable, match=r"Permission denied .*that it may be written"):
                open_store(url(folder / "another.db"))
            folder.chmod(0o755)
            with closing(open_store(url(path))) as store:
                store.check()


@pytest.mark.parametrize("unknown", ["", "sqlite://", "sqlite:///", "mysql://root@here/db", "callboard.db"])
def test_a_url_of_another_kind_is_refused(unknown: str) -> None:
    with pytest.raises(SettingsError, match=r"store\.url"):
        open_store(unknown)


def test_an_error_of_the_database_leaves_no_transaction_behind(opened: tuple[Store, QueueStore]) -> None:
    store, owner = opened
    put(owner, insert(1))
    with pytest.raises(DuplicateTask):
        put(owner, insert(1))
    put(owner, insert(2))
    assert store.counts()[QUEUE][TaskState.AVAILABLE] == 2


def test_signals_do_not_disturb_a_write(opened: tuple[Store, QueueStore]) -> None:
    _, owner = opened
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        for number in range(50):
            signal.raise_signal(signal.SIGUSR1)
            put(owner, insert(number))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert owner.counts()[TaskState.AVAILABLE] == 50

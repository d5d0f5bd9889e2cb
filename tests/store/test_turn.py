"""The writers' turn, with real processes that are stopped and killed."""

import os
import signal
import stat
import threading
from pathlib import Path
from types import FrameType

import pytest

from callboard.actors.errors import StoreUnavailable
from callboard.actors.store import QueueStore, Store, TaskFilter
from callboard.actors.store.opening import open_store
from callboard.actors.store.turn import Turn
from callboard.actors.task import TaskState
from tests.store.made import NOW, QUEUE, insert, put, task_id, url
from tests.store.processes import line, start
from tests.support.polling import eventually


def taken_in(turn: Turn) -> str:
    """Say how taking the turn ended."""
    try:
        with turn.taken():
            return "taken"
    except StoreUnavailable as error:
        return str(error)


def test_a_holder_that_is_killed_frees_the_turn(tmp_path: Path) -> None:
    turn = Turn(tmp_path / "turn", wait_seconds=30)
    with start("hold_turn", tmp_path / "turn") as holder:
        assert line(holder) == "held"
        killer = threading.Timer(0.2, holder.kill)  # while we wait
        killer.start()
        assert taken_in(turn) == "taken"
        killer.join()


def test_a_holder_that_is_stopped_blocks_others_only_until_the_deadline(tmp_path: Path) -> None:
    turn = Turn(tmp_path / "turn", wait_seconds=0.3)
    with start("hold_turn", tmp_path / "turn") as holder:
        assert line(holder) == "held"
        holder.send_signal(signal.SIGSTOP)
        assert "waited 0.3 s for the writers' turn" in taken_in(turn)
        assert "waited 0.3 s for the writers' turn" in taken_in(turn)
        holder.kill()
        holder.wait()
        assert taken_in(turn) == "taken"


def test_a_thread_waits_for_the_turn_without_the_alarm(tmp_path: Path) -> None:
    turn = Turn(tmp_path / "turn", wait_seconds=0.1)
    ended: list[str] = []

    def take() -> None:
        ended.append(taken_in(turn))

    def take_in_thread() -> None:
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()

    with start("hold_turn", tmp_path / "turn") as holder:
        assert line(holder) == "held"
        take_in_thread()
        holder.kill()
        holder.wait()
        take_in_thread()
    assert "waited 0.1 s" in ended[0]
    assert ended[1] == "taken"


def test_waiting_leaves_the_alarm_as_it_was(tmp_path: Path) -> None:
    def mine(_signal: int, _frame: FrameType | None) -> None: ...

    before = signal.signal(signal.SIGALRM, mine)
    own_timer = signal.setitimer(signal.ITIMER_REAL, 0)  # pytest-timeout's
    try:
        turn = Turn(tmp_path / "turn", wait_seconds=0.1)
        with start("hold_turn", tmp_path / "turn") as holder:
            assert line(holder) == "held"
            assert "waited" in taken_in(turn)
        assert signal.getsignal(signal.SIGALRM) is mine
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *own_timer)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_process_opens_the_turn_of_a_file_once(path: Path) -> None:
    """Or it would have one descriptor more for each visit."""
    open_store(url(path)).close()
    before = open_descriptors()
    for _ in range(5):
        open_store(url(path)).close()
    assert open_descriptors() == before


@pytest.mark.parametrize("reused", [False, True])
def test_a_process_that_has_closed_what_it_inherited_opens_the_turn_itself(tmp_path: Path, *, reused: bool) -> None:
    first = Turn(tmp_path / "turn")
    os.close(first._file)
    other = os.open(tmp_path, os.O_RDONLY) if reused else None
    assert (other == first._file) == reused
    second = Turn(tmp_path / "turn")
    assert os.fstat(second._file).st_ino == (tmp_path / "turn").stat().st_ino
    assert taken_in(second) == "taken"
    if other is not None:
        os.close(other)


def test_the_turn_of_a_file_that_was_made_anew_is_another_one(tmp_path: Path) -> None:
    first = Turn(tmp_path / "turn")
    (tmp_path / "turn").unlink()
    second = Turn(tmp_path / "turn", wait_seconds=0.05)
    assert taken_in(first) == "taken"
    with start("hold_turn", tmp_path / "turn") as holder:
        assert line(holder) == "held"
        assert "another process holds it" in taken_in(second)
        assert taken_in(first) == "taken"
        holder.kill()


def test_every_writer_waits_for_the_turn(path: Path) -> None:
    store = open_store(url(path), turn_seconds=0.1)
    owner, _ = store.own(QUEUE)
    with start("hold_turn", Path(f"{path}.turn")) as holder:
        assert line(holder) == "held"
        for write in (
            lambda: put(owner, insert(1)),
            lambda: store.own(QUEUE),
            lambda: store.put_queue("other", "{}", "", NOW),
            lambda: store.delete_queue(QUEUE),
        ):
            with pytest.raises(StoreUnavailable, match="waited"):
                write()
        assert store.get(task_id(1)) is None
        assert [queue.name for queue in store.queues()] == [QUEUE]
    put(owner, insert(1))
    owner.close()
    store.close()


def test_readers_never_wait_for_a_writer_that_is_stopped_inside_its_transaction(
    path: Path,
    opened: tuple[Store, QueueStore],
) -> None:
    store, _ = opened
    with start("stay_in_transaction", path) as stopped:
        assert line(stopped) == "written"
        stopped.send_signal(signal.SIGSTOP)
        assert store.counts()[QUEUE][TaskState.AVAILABLE] == 0
        assert store.matching_ids(TaskFilter(), 10) == []


def test_an_owner_that_was_stopped_and_replaced_writes_nothing_when_it_wakes_up(path: Path) -> None:
    store = open_store(url(path), turn_seconds=0.1)
    with start("submit_tens", path) as stopped:
        assert line(stopped) == "10"

        def replace_it() -> QueueStore | None:
            """It may have been stopped inside a transaction: then it has the turn, and is stopped again a little later."""
            stopped.send_signal(signal.SIGSTOP)
            try:
                return store.own(QUEUE)[0]
            except StoreUnavailable:
                stopped.send_signal(signal.SIGCONT)
                return None

        successor = eventually(replace_it)
        assert successor is not None
        stored = successor.counts()
        stopped.send_signal(signal.SIGCONT)
        assert stopped.wait(20) == 1  # Superseded
    assert successor.counts() == stored
    assert len(store.matching_ids(TaskFilter(), 1_000_000)) == stored[TaskState.AVAILABLE]
    successor.close()
    store.close()


@pytest.mark.parametrize("mask", [0, 0o022, 0o277])
def test_every_file_is_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        store = open_store(url(tmp_path / "callboard.db"))
        store.put_queue(QUEUE, "{}", "", NOW)
        owner, _ = store.own(QUEUE)
        put(owner, insert(1))
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    owner.close()
    store.close()
    assert modes == dict.fromkeys(["callboard.db", "callboard.db-wal", "callboard.db-shm", "callboard.db.turn"], 0o600)


def test_a_file_that_was_open_to_others_is_made_private(path: Path) -> None:
    path.chmod(0o644)
    open_store(url(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

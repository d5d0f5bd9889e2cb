"""The store's contract, writing: the same sentences hold for every store."""

import json

from callboard.actors.store import Change, HandOut, KeyUse, QueueStore, Store
from callboard.actors.task import TaskState
from tests.store.conftest import Clock
from tests.store.made import DAY, NOW, QUEUE, completion, insert, move, numbers, put, task_id, update


def test_a_submitted_task_is_read_back_as_it_was_given(store: Store, owner: QueueStore) -> None:
    put(owner, insert(7, priority=2, run_at=NOW + 5, meta='{"a": "ü"}', max_retries=9), insert(8))
    task = store.get(task_id(7))
    assert task is not None
    assert (task.queue, task.type, task.state, task.priority) == (QUEUE, "send", TaskState.AVAILABLE, 2)
    assert (task.context, task.meta, task.max_retries, task.timeout_ms) == ({"number": 7}, {"a": "ü"}, 9, 60_000)
    assert (task.run_at, task.created_at, task.created_by) == (NOW + 5, NOW + 7, "tests")
    assert (task.attempt, task.started_at, task.finished_at, task.errors, task.result) == (0, None, None, [], None)
    at_once = store.get(task_id(8))
    assert at_once is not None
    assert (at_once.run_at, at_once.meta) == (at_once.created_at, {})


def test_one_transaction_does_all_of_a_change_in_its_order(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1, "claimed"), insert(2))
    first, second = owner.load([task_id(1), task_id(2)])
    with owner.transaction() as transaction:
        transaction.apply(
            Change(
                inserts=[insert(3, "executing"), insert(4, "scheduled", run_at=NOW + 9)],
                updates=[update(first, "executing", attempt=1), update(second, "executing", attempt=1)],
                completions=[completion(1, "executing", '{"sent": true}')],
                hand_outs=[HandOut(4, "w-1", (task_id(2), task_id(3)))],
                hand_outs_ended=[3],
                keys=[KeyUse("key", "print", (task_id(3),))],
            ),
        )
    counts = store.counts()[QUEUE]
    assert {state.value: number for state, number in counts.items() if number} == {
        "completed": 1,
        "executing": 2,
        "scheduled": 1,
    }
    assert owner.counts() == counts
    done = store.get(task_id(1))
    assert done is not None
    assert (done.state, done.result, done.finished_at) == (TaskState.COMPLETED, {"sent": True}, NOW)
    assert owner.hand_outs() == [HandOut(4, "w-1", (task_id(2), task_id(3)))]


def test_one_change_moves_a_task_several_times_in_its_order(store: Store, owner: QueueStore) -> None:
    """A task that failed, is due again and is taken at once, while others of the same change move once."""
    put(owner, insert(1, "executing"), insert(2, "executing"))
    first, other = owner.load([task_id(1), task_id(2)])
    failed = update(first, "retryable", error=json.dumps({"attempt": 1}), failures=1, run_at=NOW + 10)
    again = failed._replace(was="retryable", state="executing", error=None, attempt=2, run_at=None)
    died = again._replace(was="executing", state="dead", error=json.dumps({"attempt": 2}), failures=2, finished_at=NOW)
    with owner.transaction() as transaction:
        transaction.apply(Change(updates=[failed, update(other, "completed"), again, died]))
    task = store.get(task_id(1))
    assert task is not None
    assert (task.state, task.attempt, task.run_at) == (TaskState.DEAD, 2, NOW + 10)
    assert task.errors == [{"attempt": 1}, {"attempt": 2}]
    counts = {state.value: number for state, number in store.counts()[QUEUE].items() if number}
    assert counts == {"completed": 1, "dead": 1}
    assert {state.value: number for state, number in owner.counts().items() if number} == counts


def test_errors_are_appended_and_the_due_time_stays_unless_it_is_given(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1, run_at=NOW + 3))
    move(owner, [1], "retryable", error=json.dumps({"attempt": 1}), failures=1, run_at=NOW + 10)
    move(owner, [1], "available")
    move(owner, [1], "dead", error=json.dumps({"attempt": 2, "message": 'a "\\u0000", a \\ and a ü'}), failures=2)
    task = store.get(task_id(1))
    assert task is not None
    second = {"attempt": 2, "message": 'a "\\u0000", a \\ and a ü'}
    assert (task.errors, task.run_at, task.state) == ([{"attempt": 1}, second], NOW + 10, TaskState.DEAD)
    assert owner.load([task_id(1)])[0].failures == 2


def test_logs_and_what_was_launched_are_kept_until_the_next_update(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1))
    move(owner, [1], "executing", launched=4711)
    running = store.get(task_id(1))
    assert running is not None
    assert (running.meta, running.logs) == ({"launched": 4711}, [])
    move(owner, [1], "completed", result="3", logs='["one", "zw\\u00f6lf"]')
    ended = store.get(task_id(1))
    assert ended is not None
    assert (ended.meta, ended.logs, ended.result) == ({}, ["one", "zwölf"], 3)
    move(owner, [1], "available")
    again = store.get(task_id(1))
    assert again is not None
    assert (again.meta, again.logs) == ({}, [])


def test_a_retried_task_loses_its_result_and_its_end(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1))
    with owner.transaction() as transaction:
        transaction.apply(Change(completions=[completion(1, result="5")]))
    move(owner, [1], "available", rank=NOW + 50)
    task = store.get(task_id(1))
    assert task is not None
    assert (task.result, task.finished_at, task.state) == (None, None, TaskState.AVAILABLE)
    assert [ready.id for ready in owner.ready((0, NOW + 49), 9, 999)] == [task_id(1)]


def test_a_new_owner_goes_on_where_the_last_one_stopped(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1, rank=NOW + 77), insert(2, rank=NOW + 70))
    with owner.transaction() as transaction:
        transaction.apply(Change(hand_outs=[HandOut(5, "w", (task_id(1), "")), HandOut(6, "v", (task_id(2),))]))
        transaction.apply(Change(hand_outs=[HandOut(5, "w", ("", ""))], hand_outs_ended=[6]))
        transaction.set_paused(True)
        assert transaction.settings() == ("{}", 1)
        assert transaction.set_settings('{"concurrency": 3}') == 2
        assert transaction.settings() == ('{"concurrency": 3}', 2)
    successor, ownership = store.own(QUEUE)
    assert (ownership.last_rank, ownership.last_hand_out, ownership.paused) == (NOW + 77, 6, True)
    assert ownership.settings == '{"concurrency": 3}'
    assert ownership.counts[TaskState.AVAILABLE] == 2
    assert successor.hand_outs() == [HandOut(5, "w", ("", ""))]


def test_a_rank_given_by_a_promotion_is_remembered_too(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1, "scheduled", run_at=NOW, rank=0))
    with owner.transaction() as transaction:
        transaction.due(NOW, 10, NOW + 500)
    assert store.own(QUEUE)[1].last_rank == NOW + 500


def test_due_tasks_become_available_in_the_order_of_their_time(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1, "scheduled", run_at=NOW + 30), insert(2, "scheduled", run_at=NOW + 10, priority=5))
    put(owner, insert(3, "scheduled", run_at=NOW + 99), insert(4), insert(5, "scheduled", run_at=NOW + 10))
    move(owner, [4], "retryable", run_at=NOW + 20)
    assert owner.next_due() == NOW + 10
    with owner.transaction() as transaction:
        first = transaction.due(NOW + 50, 3, 1_000)
        rest = transaction.due(NOW + 50, 3, 2_000)
    assert numbers([task.id for task in first + rest]) == [2, 5, 4, 1]
    assert [(task.lane, task.rank, task.state) for task in first] == [
        (-5, 1_000, "available"),
        (0, 1_001, "available"),
        (0, 1_002, "available"),
    ]
    assert numbers([task.id for task in owner.ready(None, 10, 10_000)]) == [2, 5, 4, 1]
    assert owner.next_due() == NOW + 99
    counts = store.counts()[QUEUE]
    assert (counts[TaskState.AVAILABLE], counts[TaskState.SCHEDULED], counts[TaskState.RETRYABLE]) == (4, 1, 0)


def test_purging_is_bounded_and_takes_the_oldest_of_one_state(store: Store, owner: QueueStore) -> None:
    put(owner, *(insert(number) for number in range(1, 8)))
    with owner.transaction() as transaction:
        transaction.apply(Change(completions=[completion(number, at=NOW + 10 - number) for number in range(1, 6)]))
    move(owner, [6], "dead")
    with owner.transaction() as transaction:
        assert transaction.purge(TaskState.COMPLETED, NOW + 9, 2) == 2
    assert [store.get(task_id(number)) is None for number in range(1, 8)] == [False] * 3 + [True, True] + [False] * 2
    with owner.transaction() as transaction:
        assert transaction.purge(TaskState.COMPLETED, NOW + 9, 100) == 2
        assert transaction.purge(TaskState.DEAD, NOW, 100) == 0
        assert transaction.purge(TaskState.DEAD, NOW + 1, 100) == 1
        assert transaction.purge(TaskState.COMPLETED, 2**63 - 1, 100) == 1  # whenever they ended
    counts = store.counts()[QUEUE]
    assert (counts[TaskState.COMPLETED], counts[TaskState.DEAD], counts[TaskState.AVAILABLE]) == (0, 0, 1)


def test_only_ended_tasks_of_the_own_queue_are_deleted(store: Store, owner: QueueStore) -> None:
    store.put_queue("other", "{}", "", NOW)
    other, _ = store.own("other")
    put(other, insert(9))
    move(other, [9], "dead")
    put(owner, insert(1), insert(2), insert(3))
    move(owner, [1], "dead")
    move(owner, [2], "cancelled")
    with owner.transaction() as transaction:
        assert transaction.delete([task_id(number) for number in (1, 2, 3, 9, 11)]) == 2
    assert numbers([task.id for task in store.get_many([task_id(number) for number in (1, 2, 3, 9)])]) == [3, 9]
    assert store.counts()[QUEUE][TaskState.DEAD] == 0
    assert store.counts()["other"][TaskState.DEAD] == 1


def test_a_key_is_known_in_every_queue_for_a_day(store: Store, owner: QueueStore, clock: Clock) -> None:
    with owner.transaction() as transaction:
        transaction.apply(Change(keys=[KeyUse("a", "print", ("1", "2")), KeyUse("b", "other print", ())]))
    store.put_queue("other", "{}", "", NOW)
    other, _ = store.own("other")
    clock.now = NOW + DAY - 1
    with other.transaction() as transaction:
        assert transaction.key_uses(["a", "c"]) == [KeyUse("a", "print", ("1", "2"), QUEUE)]
        transaction.apply(Change(keys=[KeyUse("a", "print", ("3",))]))
        assert transaction.key_uses(["a"]) == [
            KeyUse("a", "print", ("1", "2"), QUEUE),
            KeyUse("a", "print", ("3",), "other"),
        ]
    clock.now = NOW + DAY
    with owner.transaction() as transaction:
        assert transaction.key_uses(["a", "b"]) == [KeyUse("a", "print", ("3",), "other")]


def test_a_key_may_be_used_again_after_a_day(store: Store, owner: QueueStore, clock: Clock) -> None:
    for day, ids in enumerate((("1",), ("2",))):
        clock.now = NOW + day * DAY
        with owner.transaction() as transaction:
            assert transaction.key_uses(["a"]) == []
            transaction.apply(Change(keys=[KeyUse("a", "", ids)]))
    with owner.transaction() as transaction:
        assert transaction.key_uses(["a"]) == [KeyUse("a", "", ("2",), QUEUE)]


def test_whoever_watches_the_version_sees_that_something_was_written(store: Store, owner: QueueStore) -> None:
    before = store.version()
    assert store.version() == before
    put(owner, insert(1))
    written = store.version()
    assert written != before
    assert store.version() == written
    store.check()


def test_a_hand_out_keeps_whatever_it_says_of_its_holder_and_can_change_it(store: Store) -> None:
    owner, _ = store.own(QUEUE)
    first, second = (HandOut(7, f"lease:1:{until}:want:Ada's laptop: ☂ {'x' * 200}", (task_id(1),)) for until in (5, 6))
    with owner.transaction() as transaction:
        transaction.apply(Change(hand_outs=[first, HandOut(8, "lease", (task_id(2),))]))
    with owner.transaction() as transaction:
        # Renewed and, in the same change, ended.
        transaction.apply(Change(hand_outs=[second, HandOut(8, "again", (task_id(2),))], hand_outs_ended=[8]))
    assert owner.hand_outs() == [second]

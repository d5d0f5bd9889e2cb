"""The order with aging, and its bound: whatever comes, none is overtaken by one that came later than that allows."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.options import MAX_PRIORITY, MIN_PRIORITY
from callboard.actors.ordering import AGING_LANES, STRICT, Order, replaced
from callboard.actors.store.opening import open_store
from callboard.conf.settings import QueueSettings
from tests.support.consumers import fetch, say
from tests.support.made_tasks import NO_BACKOFF, new_task
from tests.support.stages import Stage

SECOND = 1_000_000
CLOSE = 1_000
"""Microseconds: tasks that come in one moment come a microsecond after one another."""
PRIORITIES = st.sampled_from([-3, -1, 0, 0, 1, 2, 5])
AGINGS = st.sampled_from(["off", "1s", "10s"])


# ---------------------------------------------------------------- the key


@given(
    st.integers(MIN_PRIORITY, MAX_PRIORITY),
    st.integers(0, 2**52),
    st.integers(0, 100 * 365 * 86_400_000),
    st.integers(0, 100 * 365 * 86_400_000),
)
def test_a_place_fits_into_the_store_and_can_be_changed_into_any_other(priority: int, came: int, old: int, new: int) -> None:
    lane, rank = Order(old).place(priority, came)
    assert all(-(2**63) <= number < 2**63 for number in (lane, rank))
    assert Order.of_lane(lane) == Order(old)
    assert Order(old).came(priority, rank) == came
    assert replaced(lane, rank, priority, Order(new)) == Order(new).place(priority, came)


def test_strict_is_by_priority_and_then_by_time() -> None:
    assert [STRICT.place(priority, came) for priority, came in ((2, 9), (0, 3))] == [(-2, 9), (0, 3)]


def test_with_aging_ten_seconds_are_worth_a_level() -> None:
    order = Order(10_000)
    low, high = order.place(0, 0), order.place(1, 9 * SECOND)
    late = order.place(1, 11 * SECOND)
    assert high < low < late
    assert {lane for lane, _ in (low, high, late)} == {AGING_LANES + 10_000}


def test_with_aging_ranks_in_the_future_do_not_put_off_what_comes_next(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=QueueSettings.model_validate({"aging": "10s"}))
    stage.submit(new_task("low", priority=-100))
    assert stage.task("low").state == "available"
    stage.store.put_queue(stage.queue, QueueSettings().model_dump_json(), "", stage.wall)
    stage.restart()
    stage.submit(new_task("next"))
    assert [task.rank for task in stage.owned.load(("low", "next"))] == [stage.wall, stage.wall + 1]
    stage.close()


# ---------------------------------------------------------------- an owner


class Watched:
    """An owner with one worker, and what is known of its tasks: at each hand-out the first of those that wait must go."""

    def __init__(self, aging: str) -> None:
        self.folder = Path(mkdtemp(prefix="callboard-test-"))
        url = f"sqlite:///{self.folder}/callboard.db"
        self.stage = Stage(self.folder / "run", store=open_store(url), settings=self._settings(aging), window=4)
        self.stage.staff()
        self.waiting: dict[str, tuple[int, int]] = {}
        """When it came, and its priority."""
        self.later: dict[str, tuple[int, int]] = {}
        self.seen = self.made = 0
        self._known: dict[str, int] = {}
        self._came: dict[str, int] = {}

    def _settings(self, aging: str) -> QueueSettings:
        self.aging_us = {"off": None, "1s": SECOND, "10s": 10 * SECOND}[aging]
        return QueueSettings.model_validate({"worker": "tests:work", "concurrency": 1, "aging": aging})

    def submit(self, priority: int, delay: float) -> None:
        now = self.stage.wall
        run_at = now + round(delay * SECOND) if delay else 0
        # Tasks of types that nobody knows go alone, so that each hand-out is a choice.
        values: dict[str, Any] = {
            "backoff": NO_BACKOFF,
            "max_retries": 1_000,
            "timeout_ms": 10**9,
            "type": f"type {self.made}",
        }
        task = new_task(priority=priority, run_at=run_at, **values)
        self.made += 1
        if delay:
            self.later[task.id] = (run_at, priority)
        else:
            self.waiting[task.id] = (now, priority)
        self._come()
        self.stage.submit(task)
        self._check()

    def wait(self, seconds: float) -> None:
        self.stage.wait(seconds)
        self._come()
        self.stage.turn()
        self._check()

    def work(self, failing: bool) -> None:
        """Have the worker do what it has; a task that fails waits at once for another try."""
        worker = self.stage.worker
        if worker.run is None:
            return
        if failing:
            task_id = worker.task(worker.running).id
            self.later[task_id] = (self.stage.wall, self._known[task_id])
            worker.fail(self.stage.wall)
        else:
            worker.complete(self.stage.wall)
        # The owner reads the end, and what is due is promoted, in the turn after.
        report, worker.bell = worker.bell, None
        assert report is not None
        self.stage.owner.reported(report.worker, report.number, self.stage.now)
        self.stage.owner.store_facts(self.stage.now)  # now it is known what waits
        self._come()
        self.stage.turn()
        self._check()

    def change(self, aging: str, *, restart: bool) -> None:
        """Change the setting, with tasks waiting: at once or at a restart, at which the worker's tasks come back."""
        settings = self._settings(aging)
        stage = self.stage
        stage.store.put_queue(stage.queue, settings.model_dump_json(), "", stage.wall)
        if not restart:
            stage.owner.settings = settings
            stage.turn()
            self._check()
            return
        given_back = [] if stage.worker.run is None else [task.id for task in stage.worker.run.tasks]
        for task_id in given_back:
            self.waiting[task_id] = self._came[task_id], self._known[task_id]
        stage.restart()
        self.seen = 0
        self._come()
        stage.staff()
        self._check()

    def close(self) -> None:
        self.stage.close()
        self.stage.store.close()
        shutil.rmtree(self.folder)

    def _come(self) -> None:
        now = self.stage.wall
        for task_id, (run_at, priority) in list(self.later.items()):
            if run_at <= now:
                self.waiting[task_id] = (now, priority)
                del self.later[task_id]

    def _key(self, came: int, priority: int) -> tuple[int, int]:
        if self.aging_us is None:
            return -priority, came - CLOSE
        return 0, came - priority * self.aging_us - CLOSE

    def _check(self) -> None:
        self._known |= {task_id: priority for task_id, (_, priority) in self.waiting.items()}
        self._came |= {task_id: came for task_id, (came, _) in self.waiting.items()}
        for run in self.stage.sent[self.seen :]:
            assert len(run.tasks) == 1
            self.stage.worker.take()
            self.stage.worker.begin(self.stage.wall)
            for task in run.tasks:
                lane, rank = self._key(*self.waiting.pop(task.id))
                for came, priority in self.waiting.values():
                    assert (lane, rank) <= (self._key(came, priority)[0], self._key(came, priority)[1] + CLOSE)
        self.seen = len(self.stage.sent)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), PRIORITIES, st.sampled_from([0.0, 0.0, 0.0, 2.0, 15.0])),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 9.0, 30.0])),
        st.tuples(st.just("work"), st.booleans()),
        st.tuples(st.just("change"), AGINGS, st.booleans()),
    ),
    max_size=60,
)


@pytest.fixture
def watched() -> Iterator[Watched]:
    one = Watched("10s")
    yield one
    one.close()


@pytest.mark.timeout(600)  # it takes seconds; but making a failure small takes minutes
@settings(max_examples=60, deadline=None)
@given(aging=AGINGS, steps=STEPS)
def test_async_12_no_task_is_overtaken_by_one_that_came_later_than_the_bound_allows(
    aging: str, steps: list[tuple[Any, ...]]
) -> None:
    watched = Watched(aging)
    try:
        for step in steps:
            match step:
                case ("submit", priority, delay):
                    watched.submit(priority, delay)
                case ("wait", seconds):
                    watched.wait(seconds)
                case ("work", failing):
                    watched.work(failing)
                case ("change", new, restart):
                    watched.change(new, restart=restart)
        for _ in range(200):
            if not watched.waiting and not watched.later and watched.stage.worker.run is None:
                break
            watched.work(failing=False)
            watched.wait(1.0)
        assert not watched.waiting
    finally:
        watched.close()


def test_async_12_a_stream_of_urgent_tasks_does_not_starve_one_that_is_not(watched: Watched) -> None:
    watched.submit(1, 0)  # keeps the worker busy
    watched.submit(0, 0)
    (patient,) = watched.waiting
    for _ in range(25):
        watched.wait(1.0)
        watched.submit(1, 0)
        watched.submit(1, 0)
        watched.work(failing=False)
    assert patient not in watched.waiting


def test_what_a_consumer_gives_back_after_a_change_of_the_aging_stands_in_the_new_order(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=QueueSettings())
    stage.staff()
    stage.submit(new_task("old", backoff=NO_BACKOFF), new_task("new"))
    (held,) = fetch(stage)
    stage.owner.settings = QueueSettings.model_validate({"aging": "10s"})
    stage.turn()
    (lease,) = stage.owner.leases
    assert (lease.task.id, lease.task.lane) == ("old", stage.owner.order.place(0, 0)[0])
    assert say(stage, held.fail()) == ["done"]
    stage.turn()
    assert [task.task_id for task in fetch(stage, 2)] == ["new", "old"]
    assert {task.lane for task in stage.owned.load(("old", "new"))} == {lease.task.lane}
    stage.close()

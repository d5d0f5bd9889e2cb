"""When a queue lets its workers and itself go, and what keeps it awake."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callboard.actors.deaths import Deaths
from callboard.actors.housekeeping import Housekeeping
from callboard.actors.messages import QueueAsleep
from callboard.actors.sleeping import UNHEARD_SECONDS, Sleeping
from callboard.actors.store import Store
from callboard.actors.suspicion import ALONE
from callboard.conf.settings import QueueSettings, RetentionSettings
from tests.support.breakable_store import Breakage
from tests.support.consumers import fetch, say
from tests.support.made_tasks import new_task, ready_task
from tests.support.stages import Stage

SETTINGS = QueueSettings.model_validate({"worker": "tests:work", "concurrency": 1, "idle_after": "10s"})


class Bed:
    """An owner with what decides about its sleep, as the Queue actor has them."""

    def __init__(
        self, folder: Path, settings: QueueSettings = SETTINGS, *, errand: bool = False, store: Store | None = None
    ) -> None:
        self.stage = Stage(folder, settings=settings, store=store)
        self.stage.hiring.dismissed = errand
        self.untold = False
        self.housekeeping = Housekeeping(self.stage.owner, self.stage.now)
        self.sleeping = Sleeping(
            self.stage.owner,
            self.stage.hiring,
            self.housekeeping,
            "registry",
            self.stage.now,
            errand=errand,
            untold=lambda: self.untold,
        )

    def turn(self) -> None:
        self.stage.owner.turn(self.stage.now)
        self.housekeeping.turn(self.stage.now)
        self.sleeping.turn(self.stage.now)
        self.stage.hire()

    def wait(self, seconds: float) -> None:
        self.stage.wait(seconds)
        self.turn()

    def let_die(self) -> None:
        """Let the workers die that were to be killed."""
        for name in self.stage.killed:
            self.stage.lose(self.stage.workers[name])
        self.stage.killed = []
        self.turn()

    @property
    def said(self) -> list[QueueAsleep]:
        return [message for _, message in self.stage.replies if isinstance(message, QueueAsleep)]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    bed = Bed(tmp_path)
    bed.turn()
    bed.wait(1)
    yield bed
    bed.stage.close()


def test_with_nothing_to_do_it_lets_its_workers_go_and_then_itself(bed: Bed) -> None:
    bed.wait(8.5)
    assert (bed.stage.killed, bed.sleeping.asleep) == ([], False)
    bed.wait(1.5)
    assert (len(bed.stage.killed), bed.sleeping.asleep) == (1, False)
    bed.let_die()
    owner = bed.stage.owner
    assert bed.sleeping.asleep
    assert bed.said == [QueueAsleep("mail", owner.incarnation, 1, None, history=False)]
    assert bed.stage.workers == {}


def test_it_is_looked_at_again_when_it_may_sleep(bed: Bed) -> None:
    bed.turn()
    assert bed.sleeping.next_look <= bed.stage.mono + 10
    bed.stage.wait(bed.sleeping.next_look - bed.stage.mono)
    bed.turn()
    assert len(bed.stage.killed) == 1


def test_a_task_that_comes_while_the_workers_go_gets_a_new_one(bed: Bed) -> None:
    bed.wait(11)
    bed.stage.submit(new_task())
    bed.let_die()
    assert not bed.sleeping.asleep
    bed.turn()
    (worker,) = bed.stage.workers.values()
    bed.stage.turn()
    assert worker.run is not None


@pytest.mark.parametrize(
    "keep_busy",
    [
        lambda stage: stage.begin(new_task()),  # it runs
        lambda stage: setattr(stage.owner, "draining", True),  # only a live owner knows that
        lambda stage: setattr(stage.hiring, "trouble", "no such module"),  # somebody should see it
        lambda stage: setattr(stage.owned, "breakage", Breakage.READ),  # nobody can tell whether there is nothing
        lambda stage: setattr(stage.owner, "stopping", True),
    ],
    ids=["busy", "draining", "trouble", "no store", "stopping"],
)
def test_what_keeps_it_awake(bed: Bed, keep_busy: Callable[[Stage], object]) -> None:
    keep_busy(bed.stage)
    for _ in range(4):
        bed.wait(8)
    assert (bed.stage.killed, bed.said) == ([], [])


def test_whoever_uses_it_keeps_it_awake(bed: Bed) -> None:
    for _ in range(4):
        bed.sleeping.touch(bed.stage.now)
        bed.wait(8)
    assert bed.stage.killed == []


@pytest.mark.parametrize("change", [{"concurrency": 0}, {"worker": ""}, {"paused": True}])
def test_tasks_that_it_can_not_run_do_not_keep_it_awake(tmp_path: Path, change: dict[str, object]) -> None:
    settings = {key: value for key, value in change.items() if key != "paused"}
    bed = Bed(tmp_path, SETTINGS.model_copy(update=settings))
    if "paused" in change:
        bed.stage.owner.set_paused(bed.stage.now, paused=True)
    bed.stage.submit(new_task())
    bed.wait(1)
    bed.wait(11)
    bed.let_die()
    assert len(bed.said) == 1
    bed.stage.close()


def test_it_says_when_its_next_task_is_due_and_stays_for_one_that_is_soon(bed: Bed) -> None:
    soon, later = bed.stage.wall + 11_500_000, bed.stage.wall + 60_000_000
    bed.stage.submit(new_task(run_at=later))
    bed.stage.submit(task := new_task(run_at=soon))
    bed.wait(11)
    bed.wait(0.3)
    assert bed.stage.killed == []
    bed.stage.commands.cancel("r", (task.id,), "somebody", bed.stage.now)
    bed.wait(11)
    bed.let_die()
    assert [(message.due_at, message.history) for message in bed.said] == [(later, True)]


def test_never_is_never(tmp_path: Path) -> None:
    bed = Bed(tmp_path, SETTINGS.model_copy(update={"idle_after": None}))
    bed.wait(1)
    bed.wait(10**6)
    assert (bed.stage.killed, bed.said) == ([], [])
    bed.stage.close()


def test_one_that_is_not_ended_goes_on(bed: Bed) -> None:
    """The message to the Registry may be lost."""
    bed.wait(11)
    bed.let_die()
    bed.wait(UNHEARD_SECONDS / 2)
    assert (bed.sleeping.asleep, bed.stage.workers) == (True, {})
    bed.wait(UNHEARD_SECONDS)
    assert not bed.sleeping.asleep
    assert len(bed.stage.workers) == 1


def test_on_an_errand_it_sleeps_again_when_old_tasks_are_gone_and_hires_nobody(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "before", settings=SETTINGS)
    stage.staff()
    (dead,) = stage.let_die()
    stage.close()
    settings = SETTINGS.model_copy(update={"retention": RetentionSettings(dead="1ms")})
    bed = Bed(tmp_path / "now", settings, errand=True, store=stage.store)
    bed.turn()
    assert (bed.said, bed.stage.workers) == ([], {})
    bed.wait(0.2)
    assert [message.history for message in bed.said] == [False]
    assert bed.stage.store.get(dead.id) is None
    assert bed.stage.workers == {}
    bed.stage.close()


def test_an_errand_becomes_work_when_a_task_comes(tmp_path: Path) -> None:
    bed = Bed(tmp_path, errand=True)
    bed.stage.submit(new_task())
    bed.turn()
    assert len(bed.stage.workers) == 1
    bed.wait(5)
    assert bed.said == []
    bed.stage.close()


def test_a_consumers_lease_keeps_it_awake_until_it_is_settled(tmp_path: Path) -> None:
    bed = Bed(tmp_path, SETTINGS.model_copy(update={"worker": ""}))
    bed.stage.submit(new_task())
    (held,) = fetch(bed.stage, lease_ms=60_000)
    for _ in range(4):
        bed.wait(8)
    assert bed.said == []
    assert say(bed.stage, held.ack()) == ["done"]
    bed.wait(11)
    assert len(bed.said) == 1
    bed.stage.close()


def test_a_lease_that_ends_finds_its_queue_awake(tmp_path: Path) -> None:
    bed = Bed(tmp_path, SETTINGS.model_copy(update={"worker": ""}))
    bed.stage.submit(task := new_task(max_retries=0))
    fetch(bed.stage, lease_ms=30_000)
    bed.wait(15)
    bed.wait(15)
    assert (bed.stage.task(task.id).state, bed.said) == ("dead", [])
    bed.stage.close()


def test_a_task_that_waits_for_a_process_to_itself_keeps_it_awake(bed: Bed) -> None:
    bed.stage.owner.window.push(ready_task(interruptions=ALONE))
    bed.stage.wait(11)
    bed.sleeping.turn(bed.stage.now)
    assert not bed.stage.hiring.dismissed


def test_it_goes_when_all_its_events_have_been_taken(bed: Bed) -> None:
    bed.untold = True
    bed.wait(11)
    bed.let_die()
    assert (bed.said, bed.sleeping.next_look) == ([], bed.stage.mono + 1)
    bed.untold = False
    bed.wait(1)
    bed.let_die()
    assert len(bed.said) == 1


def test_a_death_keeps_it_awake_until_somebody_has_been_told(bed: Bed) -> None:
    deaths = Deaths()
    (dead,) = bed.stage.let_die()
    for _ in range(4):
        bed.wait(8)
        assert deaths.tell(bed.stage.owner) is None
    assert (bed.stage.killed, bed.said) == ([], [])
    deaths.dead_letter_at("here")
    news = deaths.tell(bed.stage.owner)
    assert news is not None
    assert (news.to, [task.id for task in news.message.tasks]) == ("here", [dead.id])
    bed.wait(8)
    bed.wait(11)
    bed.let_die()
    assert bed.sleeping.asleep


def test_where_another_server_has_the_dead_letter_deaths_are_logged_and_keep_nobody_awake(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    deaths = Deaths()
    deaths.dead_letter_at(None)
    (dead,) = bed.stage.let_die()
    assert deaths.tell(bed.stage.owner) is None
    assert [dead.id in record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [True]
    assert deaths.tell(bed.stage.owner) is None
    assert len(caplog.records) == 1
    bed.wait(8)
    bed.wait(11)
    bed.let_die()
    assert bed.sleeping.asleep

"""A queue with slots, seen from its owner: who gets what, and how suspects are cleared."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.cli.tree import _doing
from callboard.actors.crew import Doom, Moment, Slot
from callboard.actors.describing import describe
from callboard.actors.editing import edit
from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import EditTask, StopTask, TasksChanged
from callboard.actors.showing import worker_shown
from callboard.actors.task import NewTask
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.consumers import fetch, places, say
from tests.support.made_tasks import new_task
from tests.support.played_slots import PlayedSlots
from tests.support.stages import Stage


class SlotsStage(Stage):
    def play(self, start: Any) -> PlayedSlots:
        return PlayedSlots(start)

    def begin_all(self, worker: PlayedSlots) -> None:
        """Let a worker handle all that it was sent, and begin it."""
        while worker.inbox:
            worker.take()
            worker.begin(self.wall)


def with_suspects(folder: Path) -> tuple[SlotsStage, list[NewTask]]:
    """Let two tasks run in a process that dies."""
    stage = SlotsStage(folder, settings=QueueSettings(worker="tests:work", concurrency=4, slots=4))
    stage.staff()
    suspects = [new_task(), new_task()]
    stage.submit(*suspects)
    stage.begin_all(stage.worker)
    stage.lose(stage.worker, -11)
    stage.turn()
    return stage, suspects


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[SlotsStage]:
    stage = SlotsStage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=10, slots=4))
    stage.staff()
    yield stage
    stage.close()


def test_a_message_carries_a_megabyte_of_contexts_at_most(tmp_path: Path) -> None:
    stage = SlotsStage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=4, slots=4))
    stage.submit(*(new_task(context=f'"{"x" * 400_000}"') for _ in range(3)))
    stage.staff()
    assert [len(run.tasks) for run in stage.sent] == [2, 1]
    stage.close()


def test_there_are_as_many_workers_as_are_needed_for_the_concurrency(stage: SlotsStage) -> None:
    assert len(stage.workers) == 3
    stage.owner.scale(4)
    stage.turn()
    stage.hire()
    assert len(stage.killed) == 2


def test_no_more_run_than_may_and_they_are_shared_out(stage: SlotsStage) -> None:
    stage.submit(*(new_task() for _ in range(20)))
    assert sorted(len(run.tasks) for run in stage.sent) == [3, 3, 4]
    assert stage.owner.crew.running() == 10
    assert all(stage.task(task.id).state == "executing" for run in stage.sent for task in run.tasks)


def test_one_that_has_ended_makes_room_for_the_next_without_waiting_for_its_neighbours(stage: SlotsStage) -> None:
    tasks = [new_task() for _ in range(11)]
    stage.submit(*tasks)
    worker = stage.workers[min(stage.workers)]
    stage.begin_all(worker)
    worker.complete(min(worker.running), stage.wall)
    stage.ring(worker)
    assert [run.id for run in stage.sent[-1].tasks] == [tasks[10].id]
    assert stage.states(tasks[10]) == ["executing"]


def test_suspects_run_alone_in_workers_of_their_own_while_others_go_on(stage: SlotsStage) -> None:
    tasks = [new_task(max_retries=0) for _ in range(4)]
    stage.submit(*tasks[:1])
    stage.submit(*tasks[1:])
    worker = next(worker for worker in stage.workers.values() if len(worker.inbox) >= 2)
    stage.begin_all(worker)
    suspects = {run.id for run in worker.running.values()}
    stage.lose(worker, -11)
    stage.turn()
    assert {stage.task(task_id).state for task_id in suspects} == {"available"}
    while stage.hire():
        pass
    stage.turn()
    alone = [slot for slot in stage.owner.crew.slots.values() if slot.alone]
    assert len(alone) == len(suspects)
    assert {flight.task.id for slot in alone if slot.batch for flight in slot.batch.flights.values()} == suspects
    for slot in alone:
        mine = stage.workers[slot.name]
        stage.begin_all(mine)
        mine.complete(min(mine.running), stage.wall)
        stage.ring(mine)
    for task_id in suspects:
        ended = stage.task(task_id)
        assert (ended.state, [(e["charged"], e["suspect"]) for e in ended.errors]) == ("completed", [(False, False)])
    stage.turn()
    stage.hire()
    assert {slot.name for slot in alone} <= set(stage.killed)  # nobody needs them any more


@pytest.mark.parametrize("restarted", [False, True])
def test_consumers_get_the_suspects_of_a_queue_that_has_no_workers_any_more(tmp_path: Path, restarted: bool) -> None:
    stage, suspects = with_suspects(tmp_path)
    assert fetch(stage, 5) == []  # they are to run alone in workers
    stage.owner.scale(0)
    if restarted:
        stage.restart()
    tasks = [*suspects, new_task()]
    stage.submit(tasks[2])
    stage.owned.breakage = Breakage.COMMIT
    with pytest.raises(StoreUnavailable):
        fetch(stage, 5)
    stage.owned.breakage = Breakage.NONE
    held = fetch(stage, 5)
    assert places(held, tasks) == [0, 1, 2]
    assert say(stage, held[0].ack(), held[1].fail()) == ["done", "done"]
    assert stage.states(*suspects) == ["completed", "retryable"]
    charges = [[(error["charged"], error.get("suspect")) for error in stage.task(task.id).errors] for task in suspects]
    assert charges == [[(False, False)], [(False, False), (True, None)]]
    stage.close()


def test_a_suspect_that_is_moved_to_another_queue_is_none_there(tmp_path: Path) -> None:
    stage, tasks = with_suspects(tmp_path)
    stage.store.put_queue("other", stage.owner.settings.model_dump_json(), "", stage.wall)
    edit(stage.owner, EditTask("r", "mail", 1, tasks[0].id, to_queue="other"), "registry", stage.now)
    owned, _ = stage.store.own("other")
    (moved,) = owned.load([tasks[0].id])
    assert (moved.failures, moved.interruptions) == (0, 0)
    assert [(error["charged"], error["suspect"]) for error in stage.task(moved.id).errors] == [(False, False)]
    stage.close()


def test_the_only_one_that_ran_in_a_process_that_died_is_to_blame(stage: SlotsStage) -> None:
    task = new_task(max_retries=0)
    stage.submit(task)
    worker = next(worker for worker in stage.workers.values() if worker.inbox)
    stage.begin_all(worker)
    stage.lose(worker, -11)
    stage.turn()
    ended = stage.task(task.id)
    assert (ended.state, [(e["charged"], e.get("suspect")) for e in ended.errors]) == ("dead", [(True, None)])


def test_the_queue_is_described_with_what_runs_in_each_worker(stage: SlotsStage) -> None:
    stage.submit(*(new_task() for _ in range(7)))
    for worker in stage.workers.values():
        stage.begin_all(worker)
    stage.wait(6)
    stage.turn()
    status = describe(stage.owner, stage.hiring, stage.now, 1)
    assert sorted(worker.running for worker in status.workers) == [2, 2, 3]
    assert status.running == 7
    assert status.utilisation == pytest.approx(0.7)  # 7 of 10, since the queue was opened
    lines = [_doing(worker_shown(worker, "mail")) for worker in status.workers]
    assert sorted(line.partition(" for ")[2] for line in lines) == ["6s and 1 more", "6s and 1 more", "6s and 2 more"]


@pytest.mark.parametrize(("end", "state"), [("complete", "completed"), ("fail", "cancelled")])
def test_one_that_ends_while_its_neighbours_are_being_cancelled_is_answered_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, state: str
) -> None:
    stage = SlotsStage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=4, slots=4))
    stage.staff()
    tasks = [new_task() for _ in range(3)]
    stage.submit(*tasks)
    worker = stage.worker
    stage.begin_all(worker)
    stage.turn()
    reclaim = stage.commands.reclaim

    def reclaim_and_end(task_id: str, now: Moment) -> tuple[Slot, int] | None:
        place = reclaim(task_id, now)
        if task_id == tasks[0].id:
            key = next(key for key, run in worker.running.items() if run.id == task_id)
            getattr(worker, end)(key, stage.wall)
        return place

    monkeypatch.setattr(stage.commands, "reclaim", reclaim_and_end)
    stage.commands.cancel("r", tuple(task.id for task in tasks), "somebody", stage.now)
    stage.turn()
    assert len(worker.inbox) == 2  # nobody is to die for the first
    while worker.inbox:
        worker.stop(stage.wall, can=True)
    stage.turn()
    ((_, reply),) = stage.replies
    assert isinstance(reply, TasksChanged)
    unchanged = {tasks[0].id: "completed"} if end == "complete" else {}
    assert reply.unchanged == unchanged
    assert set(reply.changed) == {task.id for task in tasks} - unchanged.keys()
    assert stage.states(*tasks) == [state, "cancelled", "cancelled"]
    assert not stage.owner.outcomes.awaited
    stage.close()


def test_tasks_that_end_while_it_is_decided_to_stop_them_are_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = SlotsStage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=4, slots=4))
    stage.staff()
    late, unwanted, behind = new_task(timeout_ms=2_000), new_task(), new_task()
    stage.submit(late, unwanted)
    worker = stage.worker
    stage.begin_all(worker)
    stage.turn()
    stage.submit(behind)
    take_back = stage.owner.outcomes.take_back

    def take_back_and_end(slot: Slot) -> None:
        take_back(slot)
        for key in list(worker.running):
            worker.complete(key, stage.wall)

    monkeypatch.setattr(stage.owner.outcomes, "take_back", take_back_and_end)
    stage.owner.doom(stage.slot(worker), Doom.CANCEL, max(worker.running))
    stage.wait(3)
    stage.turn()
    assert stage.states(late, unwanted, behind) == ["completed", "completed", "available"]
    assert not any(isinstance(message, StopTask) for message in worker.inbox)
    assert stage.killed == []
    stage.close()

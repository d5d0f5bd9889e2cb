"""What a new owner does about the batches that earlier owners had handed out.

Their workers are gone (they die with their Queue). The store names the batches, the journals say what became of each
task: ended, running (interrupted, not charged) or never begun (nothing happened). After a power cut no journal is
believed, and what the store calls executing is taken for interrupted; under at-most-once delivery, all that was handed
out is: any of it may have begun.
"""

from collections.abc import Mapping, Sequence

from callboard.actors.crew import Flight, Moment
from callboard.actors.hand_out import ENDS, Mark, Record
from callboard.actors.lifecycle import Failed
from callboard.actors.outcomes import Outcomes
from callboard.actors.side_records import note
from callboard.actors.store import HandOut, ReadyTask
from callboard.actors.task import CLAIMED, ErrorKind, TaskState
from callboard.actors.worker_files import LeftBehind

_HANDED_OUT = frozenset({TaskState.AVAILABLE, TaskState.EXECUTING, CLAIMED})


def named_once(hand_outs: Sequence[HandOut]) -> list[HandOut]:
    """Strike out each task from all hand-outs but the newest that names it: what became of it in the others was stored.

    Their numbers tell that, too, but not of a task that has been in another queue meanwhile.
    """
    newest = {task_id: hand_out.number for hand_out in sorted(hand_outs) for task_id in hand_out.ids}
    return [
        hand_out._replace(ids=tuple(task_id if newest[task_id] == hand_out.number else "" for task_id in hand_out.ids))
        for hand_out in hand_outs
    ]


def recover(
    hand_outs: Sequence[HandOut], tasks: Mapping[str, ReadyTask], left: LeftBehind, outcomes: Outcomes, now: Moment
) -> None:
    """Add to the outcomes' facts what became of every handed-out task."""
    for hand_out in hand_outs:
        believed = hand_out.worker in left.workers
        logs = left.logs_of(hand_out.worker, hand_out.number) if believed else {}
        for index, task_id in enumerate(hand_out.ids):
            task = tasks.get(task_id)
            # An outcome of this or a later hand-out is in the store already: the batch outlived this task.
            if task is None or task.state not in _HANDED_OUT or task.hand_out >= hand_out.number:
                continue
            records = left.records.get((hand_out.number, index), ())
            lines = tuple(logs.get(index, ()))
            _settle(task, hand_out.number, records, outcomes, now, believed=believed, logs=lines)
        outcomes.facts.change.hand_outs_ended.append(hand_out.number)


def _settle(
    task: ReadyTask,
    number: int,
    records: Sequence[Record],
    outcomes: Outcomes,
    now: Moment,
    *,
    believed: bool,
    logs: tuple[str, ...],
) -> None:
    begun = next((record.at for record in records if record.mark == Mark.BEGUN), None)
    end = next((record for record in records if record.mark in ENDS), None)
    if end is not None:
        flight = Flight(task, task.state, task.attempt)
        for record in records:
            note(flight, record)
        # Whether the store has been told of a process is not known: as an update, the end clears it anyway.
        flight.stored_launched = flight.launched
        outcomes.ended(flight, end, end.at if begun is None else begun)
    elif begun is not None or (not believed and (task.state == TaskState.EXECUTING or outcomes.at_most_once)):
        message = "Callboard itself was stopped or died while the task ran"
        outcomes.failed(task, number, Failed(ErrorKind.INTERRUPTED, message, begun or now.wall, now.wall, logs=logs))
    else:
        outcomes.release(task)

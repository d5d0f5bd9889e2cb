"""Change a task that waits: its priority, its queue, when it may run.

A move to another queue is one transaction of the task's owner, in which the task leaves this queue and waits in the other
one; the other owner finds it there like any task whose time has come. So a death at any moment leaves it in one of both.
"""

from typing import Any

from callboard.actors.crew import Moment
from callboard.actors.foreman import Send
from callboard.actors.lifecycle import edited
from callboard.actors.messages import EditTask, TaskMoved, TasksChanged
from callboard.actors.ordering import came
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.store import Change, ReadyTask, Ruling
from callboard.actors.suspicion import Standing, standing
from callboard.actors.task import CLAIMED, WAITING_STATES, TaskState, format_time


def edit(owner: QueueOwner, message: EditTask, registry: object, now: Moment) -> TasksChanged:
    """Do what the message asks for, with a task that no worker has (any more). Raises `StoreUnavailable`."""
    # What was taken back just now must be stored before it can be read.
    owner.store_facts(now)
    (task,) = owner.store.load((message.task_id,)) or (None,)
    if task is None or task.state not in WAITING_STATES or owner.crew.flight(task.id) is not None:
        state = "" if task is None else TaskState.EXECUTING if _is_handed_out(task) else task.state
        return TasksChanged(message.request_id, (), {message.task_id: state})
    if message.to_queue not in {"", owner.queue}:
        priority = task.priority if message.priority is None else message.priority
        run_at = now.wall if message.run_at is None and task.state == TaskState.AVAILABLE else message.run_at
        # In the other queue it loses the number by which a new owner tells that its outcome here is stored. Stored before
        # the move, for it holds without it, too: so the facts stay until they are stored.
        owner.outcomes.strike(task.id)
        owner.store_facts(now)
        with owner.store.transaction() as transaction:
            moved = transaction.move(task, message.to_queue, priority, run_at)
            # It runs alone no more, so its charge could never be taken back.
            if moved and standing(task) is Standing.SUSPECT:
                transaction.apply(Change(rulings=[Ruling(task.id, guilty=False)]))
        if not moved:
            return TasksChanged(message.request_id, (), {message.task_id: task.state})
        owner.window.discard((task.id,))
        owner.outcomes.events.changed(task, _said(message) | {"queue": message.to_queue}, now.wall)
        owner.outbox.append(Send(registry, TaskMoved(message.to_queue, now.wall if run_at is None else run_at)))
    else:
        _change(owner, task, message, now)
    return TasksChanged(message.request_id, (message.task_id,), {})


def _change(owner: QueueOwner, task: ReadyTask, message: EditTask, now: Moment) -> None:
    """Give the task, which stays in its queue, another priority or time."""
    priority = task.priority if message.priority is None else message.priority
    # It keeps its age: among those of its new priority it stands where it would if it had come with it.
    lane, rank = owner.order.place(priority, came(task.lane, task.rank, task.priority))
    state, run_at = task.state, message.run_at
    if task.state == TaskState.AVAILABLE and run_at is not None:
        state, run_at = (TaskState.SCHEDULED, run_at) if run_at > now.wall else (state, None)
    update = edited(task, TaskState(state), lane=lane, rank=rank, priority=priority, run_at=run_at)
    owner.store_wishes([update], now)
    owner.outcomes.events.changed(task, _said(message), now.wall)
    owner.window.discard((task.id,))
    if state == TaskState.AVAILABLE:
        owner.window.push(task._replace(priority=priority, lane=lane, rank=rank))
    elif run_at is not None:
        owner.places.note(run_at)


def _said(message: EditTask) -> dict[str, Any]:
    """Return what the event of a change tells."""
    said: dict[str, Any] = {} if message.priority is None else {"priority": message.priority}
    return said if message.run_at is None else said | {"run_at": format_time(message.run_at)}


def _is_handed_out(task: ReadyTask) -> bool:
    return task.state in {CLAIMED, TaskState.AVAILABLE, TaskState.EXECUTING}

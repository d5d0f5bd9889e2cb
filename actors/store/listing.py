"""Decides how a list of tasks is found: which statements yield the ids that it shows, newest first.

There is no index for every filter, since each would cost every task. Rare states have one by id. Of available and
completed tasks, and of all tasks of one queue, there are either few, then they are gathered through the indexes that
serve other ends and sorted, or many, then walking back from the newest id soon finds a page of them. The counts tell.
"""

import base64
import binascii
from collections.abc import Mapping

from sqlalchemy import Select, select

from callboard.actors.store import TaskFilter
from callboard.actors.store.dialects import Elements, unindexed
from callboard.actors.store.schema import LISTED_STATES, hand_outs, is_any, is_shown, tasks
from callboard.actors.task import CLAIMED, TaskState

Counts = Mapping[str, Mapping[TaskState, int]]
Ids = Select[str, str]

FEW_TASKS = 2_000
FEW_SHARE = 16
"""Also few: less than one task in so many."""
_CURSOR_MARK = "callboard:"


def id_statements(chosen: TaskFilter, counts: Counts, before: str | None, limit: int) -> list[Ids]:
    """Return statements for (id, queue): each yields its newest `limit`; the newest of all of them are the list."""
    total = sum(sum(by_state.values()) for by_state in counts.values())
    if chosen.queue is not None:
        counts = {queue: by_state for queue, by_state in counts.items() if queue == chosen.queue}
    states = list(TaskState) if chosen.state is None else [chosen.state]
    number = sum(by_state[state] for by_state in counts.values() for state in states)
    if chosen.state not in LISTED_STATES and number > max(FEW_TASKS, total // FEW_SHARE):
        return [_shown(_scan(chosen), chosen, before, limit)]
    return [
        _shown(statement, chosen, before, limit)
        for queue, by_state in counts.items()
        for state in states
        if by_state[state]
        for statement in _gather(queue, state)
    ]


def _shown(statement: Ids, chosen: TaskFilter, before: str | None, limit: int) -> Ids:
    if before is not None:
        statement = statement.where(tasks.c.id < before)
    if chosen.type is not None:
        statement = statement.where(tasks.c.type == chosen.type)
    return statement.order_by(tasks.c.id.desc()).limit(limit)


def _scan(chosen: TaskFilter) -> Ids:
    """Walk back over all tasks."""
    statement = select(tasks.c.id, tasks.c.queue).where(is_shown())
    if chosen.queue is not None:
        statement = statement.where(unindexed(tasks.c.queue) == chosen.queue)
    if chosen.state is not None:
        stored = [CLAIMED, chosen.state] if chosen.state is TaskState.AVAILABLE else [chosen.state]
        statement = statement.where(unindexed(tasks.c.state).in_(stored))
    return statement


def _gather(queue: str, state: TaskState) -> list[Ids]:
    mine = select(tasks.c.id, tasks.c.queue).where(tasks.c.queue == queue, is_any(tasks.c.state, [state]))
    if state in LISTED_STATES:
        return [mine]
    if state is TaskState.COMPLETED:
        return [mine.where(tasks.c.finished_at.is_not(None)).with_hint(tasks, "INDEXED BY tasks_finished", "sqlite")]
    ids = Elements(hand_outs.c.ids).table_valued("value", joins_implicitly=True)
    held = select(ids.c.value).select_from(hand_outs).where(hand_outs.c.queue == queue)
    claimed = select(tasks.c.id, tasks.c.queue).where(tasks.c.id.in_(held), unindexed(tasks.c.state) == CLAIMED)
    return [mine, claimed]


def write_cursor(last_id: str) -> str:
    """Return the opaque text from which the next page starts."""
    return base64.urlsafe_b64encode(f"{_CURSOR_MARK}{last_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> str | None:
    """Return the id that the page before ended with. Raises ValueError for a cursor that is not ours."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        text = ""
    if not text.startswith(_CURSOR_MARK):
        raise ValueError("this cursor was not made by a list of tasks: take next_cursor from its answer")
    return text.removeprefix(_CURSOR_MARK)

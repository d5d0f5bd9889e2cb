"""What all queues have to do, in one look: asked at the start, and now and then while queues sleep."""

from sqlalchemy import ColumnElement, Connection, func, literal_column, or_, select

from callboard.actors.store.schema import DUE_STATES, counts, hand_outs, is_any, queues, tasks
from callboard.actors.task import TaskState

_ZERO: ColumnElement[int] = literal_column("0")
_next_due = (
    select(func.min(tasks.c.run_at))
    .where(tasks.c.queue == counts.c.queue, is_any(tasks.c.state, DUE_STATES))
    .scalar_subquery()
)
_AT_ONCE = select(counts.c.queue).where(
    or_(
        *(counts.c[str(state)] > _ZERO for state in (TaskState.AVAILABLE, TaskState.EXECUTING)),
        counts.c.queue.in_(select(hand_outs.c.queue)),
    ),
)
# The index of due tasks is looked at once for each queue that has any.
_LATER = select(counts.c.queue, _next_due).where(or_(*(counts.c[str(state)] > _ZERO for state in DUE_STATES)))
_known = counts.c.queue.in_(select(queues.c.name).where(queues.c.deleted == _ZERO))


def read_agenda(connection: Connection) -> dict[str, int]:
    """Return when each queue has something to do, in microseconds; 0: at once. One with nothing is left out."""
    later = {queue: due for queue, due in connection.execute(_LATER.where(_known)) if due is not None}
    return later | dict.fromkeys(connection.execute(_AT_ONCE.where(_known)).scalars(), 0)

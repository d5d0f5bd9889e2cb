"""What one transaction changes in its queue's counts, whatever the database."""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from callboard.actors.ordering import AGING_LANES, came
from callboard.actors.store import Completion, Insert, ReadyTask, TaskUpdate
from callboard.actors.store.schema import COUNTED
from callboard.actors.task import TaskState

NEVER = -(2**63)
"""Below every rank and every number of a hand-out."""

_state_of_insert, _lane_of_insert, _rank_of_insert = itemgetter(1), itemgetter(2), itemgetter(3)
_was = itemgetter(1)
_state_of_update, _lane_of_update, _rank_of_update = itemgetter(2), itemgetter(3), itemgetter(4)


class Tally:
    """Counts the tasks that came into each state and left it, and keeps the last time at which one came, and hand-out."""

    def __init__(self) -> None:
        self._more: Counter[str] = Counter()  # Counter.subtract is slow, so what went is counted for itself
        self._less: Counter[str] = Counter()
        self._last_rank = self._last_hand_out = NEVER

    def inserted(self, inserts: Sequence[Insert]) -> None:
        """Count new tasks."""
        self._more.update(map(_state_of_insert, inserts))
        if (
            max(map(_lane_of_insert, inserts)) < AGING_LANES
        ):  # nearly always; a call for each row would cost more than all else
            self._last_rank = max(self._last_rank, *map(_rank_of_insert, inserts))
        else:
            self._last_rank = max(self._last_rank, *(came(row.lane, row.rank, row.task.priority) for row in inserts))

    def updated(self, updates: Sequence[TaskUpdate]) -> None:
        """Count tasks that have changed."""
        self._less.update(map(_was, updates))
        self._more.update(map(_state_of_update, updates))
        if max(map(_lane_of_update, updates)) < AGING_LANES:
            self._last_rank = max(self._last_rank, *map(_rank_of_update, updates))
        else:
            self._last_rank = max(self._last_rank, *(came(row.lane, row.rank, row.priority) for row in updates))

    def completed(self, completions: Sequence[Completion]) -> None:
        """Count tasks that ended well."""
        self._less.update(map(_was, completions))
        self._more[TaskState.COMPLETED] += len(completions)

    def handed_out(self, number: int) -> None:
        """Note the number of a hand-out."""
        self._last_hand_out = max(self._last_hand_out, number)

    def became_due(self, waited: Sequence[ReadyTask], due: Sequence[ReadyTask]) -> None:
        """Count tasks that have become available: as they were, and as they are."""
        self._less.update(task.state for task in waited)
        self._more[TaskState.AVAILABLE] += len(due)
        self._last_rank = max(self._last_rank, *(came(task.lane, task.rank, task.priority) for task in due))

    def moved_away(self, task: ReadyTask) -> None:
        """Count a task that is another queue's now; it is counted there by the move itself."""
        self._less[task.state] += 1

    def deleted(self, states: Sequence[str]) -> None:
        """Count tasks that are gone, by the state that each was in."""
        self._less.update(states)

    def purged(self, state: str, number: int) -> None:
        """Count tasks of one state that are gone."""
        self._less[state] += number

    def values(self) -> tuple[int, ...] | None:
        """Return what goes into `ADD_COUNTS` before the queue's name, None if nothing has changed."""
        more = dict.fromkeys(map(str, TaskState), 0)
        for state, number in self._more.items():
            more[COUNTED[state]] += number
        for state, number in self._less.items():
            more[COUNTED[state]] -= number
        largest = (self._last_rank, self._last_hand_out)
        return (*more.values(), *largest) if any(more.values()) or max(largest) > NEVER else None

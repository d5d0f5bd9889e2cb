"""Which submissions a queue accepts, and the place in the order that their tasks get."""

from collections.abc import Iterator, Sequence

from callboard.actors.messages import Outcome, Submission, Verdict
from callboard.actors.ordering import STRICT, Order
from callboard.actors.store import Insert, KeyUse, ReadyTask, Transaction
from callboard.actors.task import NewTask, TaskState

_ACCEPTED = Verdict(Outcome.ACCEPTED)
_AVAILABLE, _SCHEDULED = str(TaskState.AVAILABLE), str(TaskState.SCHEDULED)


class Arrivals:
    """The submissions of one request on their way into the store.

    verdicts: one a submission. placed: what is to be stored, by task id. later: when those that must wait are due.
    keys: the idempotency keys used. pushed: the tasks that were put into the window, to be taken out again when they
    can't be stored.
    """

    def __init__(self, submissions: Sequence[Submission]) -> None:
        self.submissions = submissions
        self.verdicts: tuple[Verdict, ...] = ()
        self.accepted: list[NewTask] = []
        self.placed: dict[str, Insert] = {}
        self.later: list[int] = []
        self.keys: list[KeyUse] = []
        self.pushed: list[str] = []

    def place(self, now: int, first_rank: int, order: Order = STRICT) -> Iterator[ReadyTask]:
        """Give each accepted task its place, the first as one that came then; yields the ready ones, as held in memory."""
        new = tuple.__new__  # twice as fast as a named tuple's own constructor, and each task needs two
        for came, task in enumerate(self.accepted, first_rank):
            id_, type_, context, priority, max_retries, backoff, timeout_ms, run_at, _, _, _ = task
            if id_ in self.placed:
                continue
            state = _SCHEDULED if run_at > now else _AVAILABLE
            lane, rank = order.place(priority, came) if order.aging_ms else (-priority, came)
            self.placed[id_] = new(Insert, (task, state, lane, rank, 0, None))
            if run_at > now:
                self.later.append(run_at)
                continue
            held = (id_, type_, context, priority, lane, rank, 0, 0, 0, max_retries, backoff, timeout_ms, state, 0)
            yield new(ReadyTask, held)


def admit(arrivals: Arrivals, transaction: Transaction, queue: str, room: int | None, *, closed: bool) -> None:
    """Fill in verdicts and accepted tasks. room: how many more tasks the queue takes, None for any number."""
    keys = [submission.key for submission in arrivals.submissions if submission.key]
    uses: dict[str, list[KeyUse]] = {}
    for use in transaction.key_uses(keys) if keys else ():
        uses.setdefault(use.key, []).append(use)
    resent = [task.id for submission in arrivals.submissions if submission.resent for task in submission.tasks]
    stored = transaction.existing(resent) if resent else set()
    verdicts = []
    for submission in arrivals.submissions:
        # A key remembers its tasks longer than the store may: one that has ended and was purged must not run again.
        known = stored.union(*(use.ids for use in uses.get(submission.key, ()) if use.queue == queue))
        tasks = [task for task in submission.tasks if task.id not in known] if known else submission.tasks
        verdict = _judge(submission, len(tasks), uses.get(submission.key, ()), queue, room, closed=closed)
        verdicts.append(verdict)
        if verdict.outcome is not Outcome.ACCEPTED:
            continue
        arrivals.accepted += tasks
        if room is not None:
            room -= len(tasks)
        if submission.key and tasks:
            use = KeyUse(submission.key, submission.fingerprint, tuple(task.id for task in submission.tasks), queue)
            arrivals.keys.append(use)
            uses.setdefault(use.key, []).append(use)
    arrivals.verdicts = tuple(verdicts)


def _judge(  # noqa: PLR0911 - one return a verdict
    submission: Submission, new: int, uses: Sequence[KeyUse], queue: str, room: int | None, *, closed: bool
) -> Verdict:
    if any(use.fingerprint != submission.fingerprint for use in uses):
        return Verdict(Outcome.CONFLICT, detail="this Idempotency-Key was used by another request")
    ours = {task.id for task in submission.tasks}
    for use in uses:
        if use.queue == queue and not ours.isdisjoint(use.ids):
            # Our own tasks, sent again after an answer was lost.
            return _ACCEPTED
        if use.queue == queue:
            return Verdict(Outcome.REPLAYED, use.ids)
    if not new:
        return _ACCEPTED
    if closed:
        return Verdict(Outcome.FULL, detail="the queue is draining and takes no new tasks")
    if room is not None and new > room:
        return Verdict(Outcome.FULL, detail="the queue has reached its max_length")
    return _ACCEPTED

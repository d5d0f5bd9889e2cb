"""Ask the Registry and the Queues from outside the actor system: what the HTTP gateway and LocalClient have in common.

A request is sent to whoever owns the queue now. It waits in slices and looks between them whether that process still
lives, so a dead owner costs milliseconds, not the timeout; then it is sent to the successor. Submitting is idempotent by
the tasks' ids, so sending again can double nothing.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from threading import Event
from typing import Final, TypeVar

from thespian.actors import ActorAddress

from callboard.actors.errors import CallboardError, RequestRefused, RequestTimedOut, StoreUnavailable
from callboard.actors.messages import (
    FindQueue,
    Outcome,
    QueueFound,
    RefusalReason,
    SettingsOutdated,
    Submission,
    SubmitTasks,
    TasksAccepted,
    Verdict,
)
from callboard.actors.private_endpoint import Endpoint, Patience, PrivateEndpoint, Unanswered
from callboard.actors.processes import Ident, is_alive

DEADLINE_SECONDS: Final = 15.0
_AGAIN: Final = frozenset({RefusalReason.STALE, RefusalReason.STARTING})

Reply = TypeVar("Reply")


class SettingsChanged(CallboardError):
    """The queue's settings are not those that the tasks were built with; nothing was stored: build them again."""

    def __init__(self, found: QueueFound) -> None:
        super().__init__(f"the settings of queue {found.queue!r} have just changed")
        self.found = found


class Directory:
    """Where the queues' owners are, as last heard; shared by all threads, so that not every task asks the Registry.

    Needs no lock: each method is one operation of a dict.
    """

    def __init__(self) -> None:
        self._found: dict[str, QueueFound] = {}

    def get(self, queue: str) -> QueueFound | None:
        """Return where the owner was when last looked up."""
        return self._found.get(queue)

    def note(self, found: QueueFound) -> None:
        """Remember what the Registry answered."""
        self._found[found.queue] = found

    def forget(self, queue: str) -> None:
        """Have the next request look the queue up again."""
        self._found.pop(queue, None)


class QueueCaller:
    """Asks on behalf of one thread, through an endpoint of its own that stays open until `close`.

    existing: tells which of these task ids the store has; asked when a submission's fate is unknown at its deadline.
    stop: set by another thread to make every request give up at its next slice.
    registry: known by process too if `registry_process` is given, so that its death is noticed at once.
    """

    def __init__(
        self,
        endpoints: Callable[[], AbstractContextManager[Endpoint]],
        registry: ActorAddress,
        *,
        directory: Directory | None = None,
        existing: Callable[[Sequence[str]], set[str]] | None = None,
        registry_process: Ident | None = None,
        stop: Event | None = None,
    ) -> None:
        self._registry = registry
        self._registry_process = registry_process
        self._existing = existing
        self._stop = stop or Event()
        self._endpoint = PrivateEndpoint(endpoints, self._stop)
        self.directory = directory or Directory()

    def find(self, queue: str, seconds: float = DEADLINE_SECONDS) -> QueueFound:
        """Return where the queue's owner is: from memory, else from the Registry, waiting while it starts.

        Raises `RequestRefused` (unknown queue) or `RequestTimedOut`.
        """
        return self._find(queue, Patience(seconds))

    def ask_registry(
        self, request: Callable[[str], object], answer: type[Reply], seconds: float = DEADLINE_SECONDS
    ) -> Reply:
        """Ask the Registry what `request(request_id)` makes. Raises `RequestRefused` or `RequestTimedOut`."""
        patience = Patience(seconds)
        try:
            return self._endpoint.ask(self._registry, self._registry_process, request, answer, patience)
        except Unanswered:
            raise RequestTimedOut("the Registry did not answer") from None

    def ask_queue(
        self,
        queue: str,
        request: Callable[[str, QueueFound], object],
        answer: type[Reply],
        seconds: float = DEADLINE_SECONDS,
        *,
        wake: bool = True,
    ) -> tuple[Reply, bool]:
        """Ask the queue's owner, and its successor if it dies, what `request(request_id, found)` makes.

        Returns the reply, and whether an earlier owner may already have done what was asked. Raises `RequestRefused`
        (as idle for a queue that sleeps, unless `wake`) or `RequestTimedOut`.
        """
        patience = Patience(seconds)
        unsure = False
        while True:
            found = self._find(queue, patience, wake=wake)
            try:
                return self._ask_owner(found, request, answer, patience), unsure
            except Unanswered:
                unsure = True
            except RequestRefused as refusal:
                if refusal.reason not in _AGAIN:
                    raise
            self._look_again(found, patience)

    def submit(
        self, found: QueueFound, submissions: Sequence[Submission], seconds: float = DEADLINE_SECONDS
    ) -> list[Verdict | CallboardError]:
        """Have these stored in one transaction; each gets its verdict, or why it was not stored as far as is known.

        Raises `SettingsChanged` if the tasks must be built again, for which `found` says how they were built.
        """
        patience = Patience(seconds)
        built_with, unsure = found.settings_version, False
        while True:
            try:
                if found.settings_version != built_with and not unsure:
                    raise SettingsChanged(found)
                accepted = self._ask_owner(found, _submitting(submissions, resent=unsure), TasksAccepted, patience)
            except Unanswered:
                unsure = True
            except RequestRefused as refusal:
                if refusal.reason not in _AGAIN:
                    return self._what_became(submissions, refusal, unsure=unsure)
                if isinstance(refusal.answer, SettingsOutdated):
                    # The owner has said all that there is to know: the Registry need not be asked, which may be deaf.
                    found = self._renewed(found, refusal.answer)
                    continue
            else:
                return list(accepted.verdicts)
            try:
                self._look_again(found, patience)
                found = self._find(found.queue, patience)
            except (RequestTimedOut, RequestRefused) as error:
                return self._what_became(submissions, error, unsure=unsure)

    def submit_built(
        self, queue: str, build: Callable[[QueueFound], Submission], seconds: float = DEADLINE_SECONDS
    ) -> Verdict:
        """Submit what `build` makes of the queue's settings, again if these change meanwhile.

        Raises what `build` raises, `RequestRefused`, or `RequestTimedOut` (it may still be stored later).
        """
        until = time.monotonic() + seconds
        while True:
            found = self.find(queue, until - time.monotonic())
            try:
                verdict = self.submit(found, (build(found),), until - time.monotonic())[0]
            except SettingsChanged:
                continue
            if isinstance(verdict, CallboardError):
                raise verdict
            return verdict

    def close(self) -> None:
        """Give the endpoint back; the next request opens a fresh one."""
        self._endpoint.close()

    def _find(self, queue: str, patience: Patience, *, wake: bool = True) -> QueueFound:
        while (found := self.directory.get(queue)) is None:
            try:
                found = self._endpoint.ask(
                    self._registry,
                    self._registry_process,
                    lambda request_id: FindQueue(request_id, queue, wake),
                    QueueFound,
                    patience,
                )
                self.directory.note(found)
            except Unanswered:
                raise RequestTimedOut("the Registry did not answer") from None
            except RequestRefused as refusal:
                if refusal.reason not in _AGAIN:
                    raise
                patience.pause(self._stop, refusal.detail or f"queue {queue!r} has no live owner")
        return found

    def _renewed(self, found: QueueFound, news: SettingsOutdated) -> QueueFound:
        """Remember that the same owner has other settings now."""
        renewed = replace(found, settings=news.settings, settings_version=news.settings_version)
        self.directory.note(renewed)
        return renewed

    def _look_again(self, found: QueueFound, patience: Patience) -> None:
        """Forget this owner, unless another thread has found the next one already, and give the Registry a moment."""
        if self.directory.get(found.queue) is found:
            self.directory.forget(found.queue)
        patience.pause(self._stop, f"the owner of queue {found.queue!r} did not answer")

    def _ask_owner(
        self, found: QueueFound, request: Callable[[str, QueueFound], object], answer: type[Reply], patience: Patience
    ) -> Reply:
        owner = Ident(found.pid, found.started)
        if not is_alive(owner):  # it fell asleep or died before it was asked, so it has done nothing of this
            raise RequestRefused(RefusalReason.STALE, f"queue {found.queue!r} has no live owner")
        return self._endpoint.ask(found.address, owner, lambda request_id: request(request_id, found), answer, patience)

    def _what_became(
        self, submissions: Sequence[Submission], error: CallboardError, *, unsure: bool
    ) -> list[Verdict | CallboardError]:
        """Ask the store which submissions are there after all; the others get the error."""
        if not unsure or self._existing is None:
            return [error] * len(submissions)
        try:
            there = self._existing([task.id for submission in submissions for task in submission.tasks])
        except StoreUnavailable:
            return [error] * len(submissions)
        ids = [tuple(task.id for task in submission.tasks) for submission in submissions]
        return [Verdict(Outcome.ACCEPTED, own) if there.issuperset(own) else error for own in ids]


def _submitting(submissions: Sequence[Submission], *, resent: bool) -> Callable[[str, QueueFound], object]:
    chosen = tuple(submission._replace(resent=True) for submission in submissions) if resent else tuple(submissions)

    def request(request_id: str, found: QueueFound) -> SubmitTasks:
        return SubmitTasks(request_id, found.queue, found.incarnation, found.settings_version, chosen)

    return request

"""What all actors share: dispatch, death with the parent, one wakeup, children that are watched, an answer to pings."""

import faulthandler
import gc
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, Final, TypeVar

from callboard.actors import process_groups, processes
from callboard.actors.children import Child, Children, SpawnFailed
from callboard.actors.messages import Ping, Pong
from callboard.actors.thespian_env import LOGGING_MANAGER, LOGGING_ROOT

# isort: split
from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.logdirector import ThespianLogForwarder

__all__ = ["CallboardActor", "Child", "SpawnFailed", "handles"]

READY_WITHIN_SECONDS: Final = 10.0
# Thespian handles these in Python, so that a fault would repeat for ever at 100 % CPU instead of ending the process.
FAULTS: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)

Handler = TypeVar("Handler", bound=Callable[..., None])

log = logging.getLogger(__name__)


def handles(*message_types: type) -> Callable[[Handler], Handler]:
    """Mark a method `(self, message, sender)` as the handler of these message classes (exactly these, no subclasses)."""

    def mark(method: Handler) -> Handler:
        method.handled_messages = message_types  # type: ignore[attr-defined]  # a mark on a function
        return method

    return mark


class CallboardActor(Actor):  # type: ignore[misc]  # thespian has no types
    """An actor whose handlers are marked with `@handles`.

    A subclass with a constructor calls this one first. No exception leaves a handler: thespian would call it again.
    """

    _handlers: ClassVar[dict[type, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._handlers = {}
        for base in reversed(cls.__mro__[1:]):  # an actor may be put together from several parts
            cls._handlers |= vars(base).get("_handlers", {})
        for name, method in vars(cls).items():
            for message_type in getattr(method, "handled_messages", ()):
                cls._handlers[message_type] = name

    def __init__(self) -> None:
        if isinstance(logging.root, ThespianLogForwarder):  # a process of its own, not a test's in-process actor
            _settle_in()
        super().__init__()
        self.children = Children()
        self.exiting = False
        self._watched: set[int] = set()
        self._wanted_wakeup: float | None = None
        self._next_check: float | None = None
        self._pending_wakeups: list[float] = []

    # ------------------------------------------------------------ what thespian calls

    def receiveMessage(self, message: Any, sender: ActorAddress) -> ThespianWatch:  # noqa: N802  # thespian's name
        """Hand a message to its handler; log what it raises, and what nobody handles."""
        try:
            self._dispatch(message, sender)
        except BaseException as error:  # SystemExit would end the actor, others make thespian repeat it
            log.exception("%s could not handle %s", type(self).__name__, type(message).__name__)
            self._report_failure(message, sender, error)
        return ThespianWatch(list(self._watched))  # a handler that returned none would end the watching

    def _report_failure(self, message: Any, sender: ActorAddress, error: BaseException) -> None:
        try:
            self.handler_failed(message, sender, error)
        except BaseException:
            log.exception("%s could not report a failure", type(self).__name__)

    def _dispatch(self, message: Any, sender: ActorAddress) -> None:
        match message:
            case WakeupMessage():
                self._woken(message.payload)
            case ChildActorExited():
                self._look_after_children(time.monotonic())
            case Ping():
                self.send(sender, Pong(message.request_id, os.getpid()))
            case WatchMessage():
                for descriptor in message.ready:
                    self.on_readable(descriptor)
            case ActorExitRequest():
                self.exiting = True
                self.children.forget_strays(self._myRef)
                self.on_exit()
            case _ if (name := self._handlers.get(type(message))) is not None:
                getattr(self, name)(message, sender)
            case _:
                log.warning("%s got a %s, which it does not handle", type(self).__name__, type(message).__name__)

    # ------------------------------------------------------------ for subclasses to fill in

    def on_wakeup(self, now: float) -> None:
        """Do what is due; the moment asked for by `wake_at` has come. Ask again for the next one: this one is spent."""

    def on_readable(self, descriptor: int) -> None:
        """React to a watched descriptor that can be read, or whose other end is closed."""

    def on_exit(self) -> None:
        """Let go of what the actor holds: its children are ended after this, then it; `exiting` says so meanwhile."""

    def child_exited(self, child: Child, exitcode: int | None) -> None:
        """React to the end of a child; called exactly once for each, however its death was found."""

    def child_not_ready(self, child: Child) -> None:
        """React to a child that was not ready by its deadline; it has been killed, and `child_exited` will follow."""

    def handler_failed(self, message: Any, sender: ActorAddress, error: BaseException) -> None:
        """React to a handler's exception, which has been logged; a request can be refused here."""

    # ------------------------------------------------------------ wakeups

    def wake_at(self, when: float) -> None:
        """Have `on_wakeup` called at this `time.monotonic()` moment; of several moments only the earliest is kept."""
        if self._wanted_wakeup is None or when < self._wanted_wakeup:
            self._wanted_wakeup = when
        self._arm()

    def _arm(self) -> None:
        """See that a wakeup comes no later than it is needed; one that is too early is recognised and armed again.

        Thespian can't cancel a wakeup, so a new one is made only if it is earlier than all that are under way.
        """
        moments = [moment for moment in (self._wanted_wakeup, self._next_check) if moment is not None]
        if not moments or any(pending <= min(moments) for pending in self._pending_wakeups):
            return
        when = min(moments)
        self._pending_wakeups.append(when)
        self.wakeupAfter(timedelta(seconds=max(0.0, when - time.monotonic())), when)

    def _woken(self, armed_for: object) -> None:
        self._pending_wakeups = [pending for pending in self._pending_wakeups if pending != armed_for]
        now = time.monotonic()
        try:
            if self._next_check is not None and self._next_check <= now:
                self._look_after_children(now)
            if self._wanted_wakeup is not None and self._wanted_wakeup <= now:
                self._wanted_wakeup = None
                self.on_wakeup(now)
        finally:
            self._arm()

    # ------------------------------------------------------------ children

    def spawn(self, actor_class: type[Actor], name: str, ready_within: float = READY_WITHIN_SECONDS) -> Child:
        """Start a child actor; raise SpawnFailed if there is no process for it.

        To be called at the end of a handler: a child that dies while its creator is still busy is noticed only by
        asking its process. It is killed unless `mark_ready` is called within `ready_within` seconds.
        """
        child = self.children.spawn(
            self._myRef, lambda: self.createActor(actor_class), actor_class.__name__, name, ready_within
        )
        self._next_check = self.children.next_check(child.started_at)
        self._arm()
        return child

    def child_at(self, sender: ActorAddress) -> Child | None:
        """Return the child that a message came from, noting that it was heard; None if it's none (any more)."""
        child = self.children.at(sender)
        if child is not None:
            child.last_heard = time.monotonic()
        return child

    def mark_ready(self, child: Child) -> None:
        """Note that a child has come up."""
        child.ready = True

    def kill_child(self, child: Child) -> None:
        """SIGKILL a child, together with its process group if it leads one; `child_exited` will follow."""
        process_groups.kill_group(child.process)

    def _look_after_children(self, now: float) -> None:
        try:
            for child in self.children.take_late(now):
                self.kill_child(child)
                self._tell(self.child_not_ready, child)
            for child in self.children.take_ended():
                self._tell(self.child_exited, child, child.process.exitcode)
        finally:
            self._next_check = self.children.next_check(now)
            self._arm()

    def _tell(self, hook: Callable[..., None], child: Child, *details: object) -> None:
        """Call a hook about one child so that its failure keeps none of the others from being told of."""
        try:
            hook(child, *details)
        except BaseException as error:
            log.exception("%s could not handle what became of %s %s", type(self).__name__, child.kind, child.name)
            self._report_failure(None, child.address, error)

    # ------------------------------------------------------------ descriptors

    def watch(self, descriptor: int) -> None:
        """Have `on_readable` called when this descriptor can be read."""
        self._watched.add(descriptor)

    def unwatch(self, descriptor: int) -> None:
        """Stop watching a descriptor; to be called before it is closed, for its number will be given away."""
        self._watched.discard(descriptor)


def _settle_in() -> None:
    """Make a process that thespian has just forked ours: it dies with its parent, faults end it, its log is its own."""
    # The parent's garbage is not ours to collect: SQLite would close a connection's descriptors, which are closed and
    # have become others by then, and take its locks on these.
    gc.freeze()
    parent = multiprocessing.parent_process()
    processes.die_with_parent(parent.pid if parent is not None else None)
    faulthandler.disable()  # a parent's being enabled would make the enabling below do nothing
    for fault in FAULTS:
        signal.signal(fault, signal.SIG_DFL)
    faulthandler.enable()
    # Thespian sends records to its logger process, and what it doesn't acknowledge silences the actor.
    logging.root = LOGGING_ROOT
    logging.Logger.root = LOGGING_ROOT
    logging.Logger.manager = LOGGING_MANAGER

"""Actors that do to their children what tests of the base actor want done."""

import ctypes
import logging
import os
import signal
import subprocess
import time
from dataclasses import dataclass

from callboard.actors import processes
from callboard.actors.base import CallboardActor, Child, handles
from callboard.actors.thespian_env import LOGGING_ROOT

# isort: split
from thespian.actors import ActorAddress


@dataclass(frozen=True)
class Do:
    """Have something done; how is the name of a method below."""

    request_id: str
    what: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Done:
    request_id: str
    answer: object


@dataclass(frozen=True)
class Nonsense:
    request_id: str


class Offspring(CallboardActor):
    @handles(Do)
    def do(self, message: Do, sender: ActorAddress) -> None:
        if message.what == "exit":
            os._exit(7)
        if message.what == "segfault":
            ctypes.string_at(0)
        if message.what == "start a program":
            os.setpgid(0, 0)
            program = subprocess.Popen(["sleep", "1000"])
            self.send(sender, Done(message.request_id, program.pid))


class BrokenOffspring(CallboardActor):
    def __init__(self) -> None:
        raise RuntimeError("cannot be made")


class Parent(CallboardActor):
    """Notes what its hooks are called with, and tells on request."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[object, ...]] = []
        self.programs: dict[str, ActorAddress] = {}
        self.reader, self.writer = os.pipe()
        self.woken_from = 0.0

    def child_exited(self, child: Child, exitcode: int | None) -> None:
        self.notes.append(("exited", child.name, None if exitcode is None else processes.exit_name(exitcode)))
        if child.name == "raise in the hook":
            raise RuntimeError("the hook failed")

    def child_not_ready(self, child: Child) -> None:
        self.notes.append(("late", child.name))

    def on_wakeup(self, now: float) -> None:
        self.notes.append(("woken", now - self.woken_from))

    def on_readable(self, descriptor: int) -> None:
        self.notes.append(("readable", os.read(descriptor, 100)))

    def handler_failed(self, message: object, sender: ActorAddress, error: BaseException) -> None:
        self.notes.append(("failed", type(message).__name__, repr(error)))
        if isinstance(message, Do):
            self.send(sender, Done(message.request_id, repr(error)))

    @handles(Done)
    def done(self, message: Done, sender: ActorAddress) -> None:
        asker = self.programs.pop(message.request_id)
        self.send(asker, message)

    @handles(Do)
    def do(self, message: Do, sender: ActorAddress) -> None:
        answer = getattr(self, message.what.replace(" ", "_"))(message, sender)
        if answer is not None:
            self.send(sender, Done(message.request_id, answer))

    def tell_notes(self, message: Do, sender: ActorAddress) -> object:
        return list(self.notes)

    def raise_system_exit(self, message: Do, sender: ActorAddress) -> object:
        self.notes.append(("raising",))
        raise SystemExit(3)

    def tell_logging(self, message: Do, sender: ActorAddress) -> object:
        return logging.root is LOGGING_ROOT and logging.getLogger("anything").root is LOGGING_ROOT

    def tell_fault_handlers(self, message: Do, sender: ActorAddress) -> object:
        return signal.getsignal(signal.SIGABRT) == signal.SIG_DFL

    def tell_children(self, message: Do, sender: ActorAddress) -> object:
        return [(child.name, child.pid, child.ready) for child in self.children]

    def wake_twice(self, message: Do, sender: ActorAddress) -> object:
        self.woken_from = time.monotonic()
        self.wake_at(self.woken_from + 30)
        self.wake_at(self.woken_from + message.seconds)
        self.wake_at(self.woken_from + 20)
        return self.woken_from

    def write_to_watched(self, message: Do, sender: ActorAddress) -> object:
        self.watch(self.reader)
        os.write(self.writer, b"ring")
        return True

    def write_to_unwatched(self, message: Do, sender: ActorAddress) -> object:
        self.watch(self.reader)
        self.unwatch(self.reader)
        os.write(self.writer, b"silence")
        return True

    def spawn_ready(self, message: Do, sender: ActorAddress) -> object:
        child = self.spawn(Offspring, "ready", ready_within=0.2)
        self.mark_ready(child)
        return child.pid

    def spawn_late(self, message: Do, sender: ActorAddress) -> object:
        return self.spawn(Offspring, "late", ready_within=0.2).pid

    def spawn_broken(self, message: Do, sender: ActorAddress) -> object:
        return self.spawn(BrokenOffspring, "broken").pid

    def spawn_exiting(self, message: Do, sender: ActorAddress) -> object:
        child = self.spawn(Offspring, "exiting")
        self.send(child.address, Do("", "exit"))
        return child.pid

    def spawn_faulting(self, message: Do, sender: ActorAddress) -> object:
        child = self.spawn(Offspring, "faulting")
        self.send(child.address, Do("", "segfault"))
        return child.pid

    def spawn_and_kill(self, message: Do, sender: ActorAddress) -> object:
        child = self.spawn(Offspring, "raise in the hook")
        self.kill_child(child)
        return child.pid

    def spawn_killed_while_busy(self, message: Do, sender: ActorAddress) -> object:
        """Have a child die, after so many seconds, while its parent has not handled that it was connected."""
        child = self.spawn(Offspring, "unseen")
        time.sleep(message.seconds)
        os.kill(child.pid, signal.SIGKILL)
        time.sleep(0.02)
        return child.pid

    def spawn_with_program(self, message: Do, sender: ActorAddress) -> object:
        child = self.spawn(Offspring, "with program")
        self.mark_ready(child)
        self.programs[message.request_id] = sender
        self.send(child.address, Do(message.request_id, "start a program"))
        return None

    def kill_all(self, message: Do, sender: ActorAddress) -> object:
        for child in self.children:
            self.kill_child(child)
        return True

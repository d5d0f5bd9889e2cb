"""Boot a sealed actor system of its own for a test."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from callboard.actors import processes
from callboard.actors.asking import ask
from callboard.actors.system import Booted, boot, shut_down

# isort: split
from thespian.actors import ActorAddress


@contextlib.contextmanager
def booted_system(folder: Path) -> Iterator[Booted]:
    """Yield a booted system, and leave none of its processes behind."""
    booted = boot(folder / "key")
    try:
        yield booted
    finally:
        tree = {booted.admin, *processes.descendants(booted.admin)}
        shut_down(booted)
        assert processes.end_tree(tree) == set()


def reply_to(booted: Booted, actor: ActorAddress, request: Any, within: float = 10.0) -> Any:
    """Return an actor's reply to a request; fail if there is none."""
    reply = ask(booted.actor_system, actor, request, within)
    assert reply is not None, f"no reply to {request}"
    return reply


def new_id() -> str:
    """Return a request id."""
    return uuid.uuid4().hex

"""Find out whether a worker path or a command can be used, without importing anybody's code into this process."""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from callboard.conf.learning import learned_of
from callboard.conf.queue_settings import QueueSettings

IMPORT_SECONDS: Final = 10.0
_AT_ONCE: Final = 4

# Runs in a process of its own and writes one line to the descriptor that it is given: the module's own prints, exits
# and crashes can't be taken for an answer. A class is not made here: what its constructor does is for real workers.
_PROBE: Final = """
import importlib, inspect, json, os, sys
path, answer, declared_only = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "declared"
def say(text):
    os.write(answer, " ".join(text.split()).encode(errors="replace")[:2000])
    os._exit(0)
module, _, attribute = path.partition(":")
try:
    target = importlib.import_module(module)
except BaseException as error:
    say(f"{module} can't be imported: {type(error).__name__}: {error}")
for name in attribute.split("."):
    try:
        target = getattr(target, name)
    except AttributeError:
        say(f"module {module} has no {attribute}")
if declared_only and not hasattr(target, "__callboard_task__"):
    ancestors = {(a.__module__, a.__name__) for a in getattr(target, "__mro__", ())}
    if ("callboard.actors.handlers", "Worker") not in ancestors:
        say(f"{path} is neither a Worker nor a function with @task: over HTTP only those are taken")
if inspect.isclass(target):
    if not callable(getattr(target, "perform", None)):
        say(f"{path} is a class without a method perform(task)")
elif not callable(target):
    say(f"{path} is neither a class nor a function")
say("fine " + json.dumps(getattr(target, "__callboard_options__", {})))
"""
_FINE: Final = "fine "
_ANSWER_BYTES: Final = 4096


class Seen(NamedTuple):
    """What was found at a worker path: why it can't be used ("" if it can), and the options of its class or function."""

    problem: str
    options: dict[str, Any]


def check_worker(path: str, seconds: float = IMPORT_SECONDS, *, declared: bool = False) -> str | None:
    """Tell why a worker path can't be used, None if it can; see `look_at`."""
    return look_at(path, seconds, declared=declared).problem or None


def look_at(path: str, seconds: float = IMPORT_SECONDS, *, declared: bool = False) -> Seen:
    """Find out whether a worker path (`module:attribute`) can be used, and what its handler says of its tasks.

    Imports it in a short-lived process with this one's interpreter, environment and working directory. It takes as
    long as the import, at most `seconds`: call it from a thread where others wait. declared: only what was written as a
    handler is taken, a `Worker` or a function with `@task`, not whatever can be called.
    """
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        return Seen(f"{path!r} is not of the form module:attribute", {})
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as answers:  # noqa: PTH123 - a descriptor, not a path
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROBE, path, str(writing), "declared" if declared else "any"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(writing,),
                start_new_session=True,  # so that what the import starts can be ended with it
            )
        finally:
            os.close(writing)
        with selectors.DefaultSelector() as selector:
            selector.register(answers, selectors.EVENT_READ)
            answered = selector.select(seconds)
        said = (answers.read(_ANSWER_BYTES) or b"").decode(errors="replace") if answered else ""
    # Before it is waited for: until then its group's number can't be anybody else's.
    os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    if said.startswith(_FINE):
        return Seen("", json.loads(said.removeprefix(_FINE)))
    if not said and not answered:
        said = f"{module} can't be imported: it takes longer than {seconds:g} s"
    elif not said:
        ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        said = f"{module} can't be imported: it ends the process {ended}"
    return Seen(said, {})


def check_handler(handler: str | tuple[str, ...]) -> str | None:
    """Tell why a worker path or a command can't be used, None if it can."""
    return check_worker(handler) if isinstance(handler, str) else check_command(handler)


def check_command(command: tuple[str, ...]) -> str | None:
    """Tell why a command's program can't be found from this process's working directory, None if it can."""
    if shutil.which(command[0]) is not None:
        return None
    return f"there is no program {command[0]!r} that can be started"


def check_workers(queues: Mapping[str, QueueSettings], table: str = "queues") -> list[str]:
    """Return a line for everything that keeps these queues' workers from running, each path tried once.

    table: of the configuration that they stand in.
    """
    handlers = list({handler for settings in queues.values() for handler in settings.handlers.values()})
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        problems = dict(zip(handlers, threads.map(check_handler, handlers), strict=True))
    lines = []
    for name, settings in queues.items():
        for type_, handler in settings.handlers.items():
            if problem := problems[handler]:
                default = "command" if settings.command else "worker"
                option = f"types.{type_}" if type_ in settings.types else default
                lines.append(f"[{table}.{name}] {option}: {problem}")
    return lines


def only_fetched(queues: Mapping[str, QueueSettings], table: str = "queues") -> list[str]:
    """Return a line for every queue that has nothing to run tasks with: right for consumers, and else an oversight."""
    return [
        f"[{table}.{name}] without a worker, command or types, its tasks are for consumers that fetch them"
        for name, settings in queues.items()
        if not settings.handlers
    ]


def taught_by_looking(settings: QueueSettings) -> QueueSettings:
    """Return the settings with what their workers say, each imported in a process of its own; they must be usable."""
    paths = {handler for handler in settings.handlers.values() if isinstance(handler, str)}
    return settings.with_learned(learned_of(settings, {path: look_at(path).options for path in paths}))

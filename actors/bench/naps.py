"""Read what the napping tasks have written about themselves, and judge which of them ran twice, and why."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from callboard.actors.bench.tasks import BEGUN

DEATH_SECONDS = 1.0
"""Those that die because their parent did may begin another task until SIGKILL arrives: on a busy machine, where the
dying have to wait for their turn as well, that took more than 0.1 s. A process that went on is told by what it did."""
NOTE_SECONDS = 0.2
"""Between a task's last line and the note that its worker makes of the end, the worker may be killed, or kept waiting."""


class Mark(NamedTuple):
    """A task began or ended in a process; `at` on the clock of `time.monotonic`."""

    kind: str
    at: float
    pid: int
    queue: str
    task_id: str


class NapLog:
    """The file that all napping tasks write to, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.marks: list[Mark] = []

    def read(self) -> Sequence[Mark]:
        """Return what has been written since the last call; a line that is not complete waits for the next."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return []
        text = text[: text.rfind(b"\n") + 1]
        self._offset += len(text)
        new = [_read_mark(line) for line in text.decode().splitlines()]
        self.marks += new
        return new


@dataclass(slots=True)
class Run:
    """One run of a task in one process."""

    pid: int
    begun: float
    ended: float | None = None


class SecondRuns(NamedTuple):
    """How many runs were repeated: of tasks whose process was killed while it ran them, and without that reason."""

    of_killed: int
    unexplained: int


def second_runs(marks: Iterable[Mark], kills: Sequence[float]) -> SecondRuns:
    """Judge all runs that were followed by another run of the same task. `kills`: when something was killed."""
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    last_seen: dict[int, float] = {}
    for mark in sorted(marks, key=lambda mark: mark.at):
        last_seen[mark.pid] = mark.at
        if mark.kind == BEGUN:
            runs[mark.task_id].append(Run(mark.pid, mark.at))
        else:
            for run in [run for run in runs[mark.task_id] if run.pid == mark.pid][-1:]:
                run.ended = mark.at
    repeated = [(run, following) for each in runs.values() for run, following in pairwise(each)]
    explained = sum(_was_killed(run, following.begun, last_seen[run.pid], kills) for run, following in repeated)
    return SecondRuns(explained, len(repeated) - explained)


def _was_killed(run: Run, begun_again: float, last_seen: float, kills: Sequence[float]) -> bool:
    """Tell whether the run was cut short by a kill: its process did nothing afterwards, and there was one at its end."""
    alive_afterwards = last_seen > (run.begun if run.ended is None else run.ended)
    over = begun_again if run.ended is None else run.ended + NOTE_SECONDS
    return not alive_afterwards and any(run.begun - DEATH_SECONDS <= kill <= over for kill in kills)


def _read_mark(line: str) -> Mark:
    kind, nanoseconds, pid, queue, task_id = line.split()
    return Mark(kind, int(nanoseconds) / 1e9, int(pid), queue, task_id)

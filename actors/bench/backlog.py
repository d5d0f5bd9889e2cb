"""What a large backlog costs: the Queue's memory, the speed of its tasks, the time of a restart.

Two servers on the same disk, one with few waiting tasks, one with very many, measured in turn: the machine's moods are
to hit both.
"""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from callboard.actors import processes
from callboard.actors.bench.counting import Seen, await_completed, completed
from callboard.actors.bench.figures import Figure, Ratio
from callboard.actors.bench.filling import fill
from callboard.actors.bench.footprint import memory_kind, memory_of
from callboard.actors.bench.load import BenchFailed
from callboard.actors.bench.plan import Plan
from callboard.actors.bench.progress import Teller
from callboard.actors.bench.under_test import Served, ServerUnderTest

QUEUE: Final = "noop"
FEW: Final = 1_000
SUSTAINED: Final = 20_000
"""Several times what the Queue holds in memory: it has to read on in the store."""
MORE_MIB_TARGET: Final = 40.0
CLAIM_TARGET: Final = 0.8
RESTART_TARGET: Final = 2.0
BACK_WITHIN_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.002
BYTES_PER_MIB: Final = 2**20
LABELS: Final = {
    "memory": ("the Queue's memory", "MiB"),
    "first": ("the first 1,000 tasks after a start", "tasks/s"),
    "sustained": ("the first 20,000 tasks after a start", "tasks/s"),
    "queue_restart": ("the Queue killed: until it answers again", "s"),
    "server_start": ("the server started: until it is ready", "s"),
}


class Backlog(NamedTuple):
    """The figures with a backlog of one size, by the names in `LABELS`."""

    waiting: int
    figures: dict[str, Figure]


class BacklogCost(NamedTuple):
    """Both backlogs, and what the large one costs."""

    few: Backlog
    many: Backlog

    @property
    def more_mib(self) -> float:
        """How much larger the Queue is with the large backlog."""
        return self.many.figures["memory"].median - self.few.figures["memory"].median

    @property
    def ratios(self) -> list[Ratio]:
        """The large backlog as a part (or a multiple) of the small one."""
        return [
            self._ratio("first", CLAIM_TARGET),
            self._ratio("sustained", CLAIM_TARGET),
            self._ratio("queue_restart", RESTART_TARGET, at_most=True),
            self._ratio("server_start", RESTART_TARGET, at_most=True),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the form that programs read."""
        return {
            "memory_kind": memory_kind(),
            "backlogs": [
                {"waiting": each.waiting} | {key: figure.to_json() for key, figure in each.figures.items()} for each in self
            ],
            "more_mib": {
                "value": round(self.more_mib, 2),
                "target": MORE_MIB_TARGET,
                "met": self.more_mib <= MORE_MIB_TARGET,
            },
            "ratios": {ratio.key: ratio.to_json() for ratio in self.ratios},
        }

    def _ratio(self, key: str, target: float, *, at_most: bool = False) -> Ratio:
        many, few = self.many.figures[key].median, self.few.figures[key].median
        return Ratio(key, LABELS[key][0], many, few, target, at_most=at_most)


def measure_backlogs(folder: Path, plan: Plan, teller: Teller, database: str = "") -> BacklogCost:
    """Measure with 1,000 waiting tasks and with as many as the plan says."""
    sustained = min(SUSTAINED, plan.backlog // 2)
    with ExitStack() as ending:
        measurings = []
        for name, waiting in (("few", FEW), ("many", plan.backlog)):
            place = folder / name
            place.mkdir()
            server = ending.enter_context(ServerUnderTest(place, [Served(QUEUE, "noop")], database))
            measurings.append(_Measuring(server, teller, waiting, sustained))
        for number in range(1, plan.backlog_rounds + 1):
            for each in measurings:
                each.one_round(f"round {number} of {plan.backlog_rounds}")
        few, many = (each.result() for each in measurings)
    return BacklogCost(few, many)


class _Measuring:
    """One server, whose queue is paused but for the moments in which its speed is measured."""

    def __init__(self, server: ServerUnderTest, teller: Teller, waiting: int, sustained: int) -> None:
        self._server = server
        self._teller = teller
        self._waiting = waiting
        self._sustained = sustained
        self._measured: dict[str, list[float]] = {key: [] for key in LABELS}
        server.command(QUEUE, "pause")

    def one_round(self, name: str) -> None:
        """Measure everything once."""
        measured = self._measured
        self._fill_up_to(self._waiting)
        self._teller.step(f"{name}, {self._waiting:,} waiting")
        measured["server_start"].append(self._restart_server())
        measured["queue_restart"].append(self._restart_queue())
        measured["first"].append(self._run_tasks(FEW))
        measured["memory"].append(memory_of(self._server.queue(QUEUE)["pid"]) / BYTES_PER_MIB)
        # Where fewer wait than this takes, so many are made to: there is no longer run over less.
        self._fill_up_to(max(self._waiting, self._sustained))
        self._teller.step(f"{name}, {self._waiting:,} waiting: a longer run")
        measured["sustained"].append(self._run_tasks(self._sustained))

    def result(self) -> Backlog:
        """Return the figures."""
        figures = {key: Figure(key, *LABELS[key], tuple(values)) for key, values in self._measured.items()}
        return Backlog(self._waiting, figures)

    def _fill_up_to(self, waiting: int) -> None:
        """Have so many tasks wait, on a server that has been started after they were stored."""
        missing = waiting - self._server.queue(QUEUE)["counts"]["available"]
        if missing > 0:
            self._teller.step(f"storing {missing:,} tasks", missing)
            self._server.stop()
            fill(self._server.store, QUEUE, missing, self._teller.advance)
            self._server.start()

    def _restart_server(self) -> float:
        self._server.stop()
        begun = time.perf_counter()
        self._server.start()
        return time.perf_counter() - begun

    def _restart_queue(self) -> float:
        old: int = self._server.queue(QUEUE)["pid"]
        ident = processes.identify(old)
        begun = time.perf_counter()
        if ident is None or not processes.kill(ident):
            raise BenchFailed("the Queue was gone before it could be killed")
        while self._server.queue(QUEUE)["pid"] in {None, old}:
            if time.perf_counter() - begun > BACK_WITHIN_SECONDS:
                raise BenchFailed(f"the Queue is not back within {BACK_WITHIN_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)
        return time.perf_counter() - begun

    def _run_tasks(self, number: int) -> float:
        """Let the queue run until at least so many tasks have ended, and return how many it did in a second."""
        before = Seen(completed(self._server.store, QUEUE), time.perf_counter())
        self._server.command(QUEUE, "resume")
        after = await_completed(self._server.store, QUEUE, before.completed + number)
        self._server.command(QUEUE, "pause")
        return (after.completed - before.completed) / (after.at - before.at)

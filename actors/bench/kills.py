"""Kill every kind of process while tasks run; see how soon it goes on, and whether anything has been lost."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from callboard.actors.bench.feeding import Feeder
from callboard.actors.bench.figures import Figure
from callboard.actors.bench.load import BenchFailed
from callboard.actors.bench.naps import NapLog, SecondRuns, second_runs
from callboard.actors.bench.plan import Plan
from callboard.actors.bench.progress import Teller
from callboard.actors.bench.tasks import NAP_LOG
from callboard.actors.bench.under_test import Served, ServerUnderTest
from callboard.actors.bench.victims import VITAL, Kill, Killer
from callboard.actors.store import Store
from callboard.actors.task import ENDED_STATES, TaskState

QUEUES: Final = ("nap-a", "nap-b")
END_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.05
SECONDS_TARGETS: Final = {"worker": 0.2, "queue": 0.5, "registry": 1.5, "admin": 1.5, "server": 1.5}
"""Of the median. Registry and admin are the server's: with them it is started over."""


class Recovery(NamedTuple):
    """How soon each role was back, and what became of the tasks.

    lost: accepted, but not completed in the end; doubled: in the store more often than they were accepted.
    """

    roles: dict[str, Figure]
    accepted: int
    lost: int
    doubled: int
    submissions_repeated: int
    second_runs: SecondRuns

    @property
    def kills(self) -> int:
        """How often something was killed."""
        return sum(len(figure.rounds) for figure in self.roles.values())

    @property
    def sound(self) -> bool:
        """Whether every task was run to its end, and none again without reason."""
        return not (self.lost or self.doubled or self.second_runs.unexplained)

    def to_json(self) -> dict[str, Any]:
        """Return the form that programs read."""
        roles = {role: figure.to_json() | {"target": SECONDS_TARGETS.get(role)} for role, figure in self.roles.items()}
        tasks = {"accepted": self.accepted, "lost": self.lost, "doubled": self.doubled}
        repeated = {"submissions_repeated": self.submissions_repeated, "second_runs": self.second_runs._asdict()}
        return {"recovery": roles, "kills": self.kills, "tasks": tasks | repeated}


def measure_recovery(folder: Path, plan: Plan, teller: Teller, database: str = "") -> Recovery:
    """Start a server and kill its processes in turn, so many rounds for each that is vital.

    Each round ends with a new server: what dies again within seconds is restarted after a pause that grows, and the
    first restart is what is measured.
    """
    kills: list[Kill] = []
    with ServerUnderTest(folder, [Served(queue, "Nap") for queue in QUEUES], database) as server:
        log = NapLog(server.data_dir / NAP_LOG)
        killer = Killer(server, log)
        with Feeder(server, QUEUES) as feeder:
            total = plan.kill_rounds * len(VITAL)
            for number in range(total):
                teller.step(f"killing, round {number + 1} of {total}")
                kills += _round(killer, VITAL[number % len(VITAL)])
                if feeder.failure is not None:
                    raise BenchFailed(f"a submission was never accepted: {feeder.failure}")
        teller.step("waiting for all tasks to end")
        counts = _await_end(server.store, sum(feeder.accepted.values()))
        log.read()
    accepted = sum(feeder.accepted.values())
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for kill in kills:
        seconds[kill.role].append(kill.seconds)
    return Recovery(
        {role: Figure(role, role, "s", tuple(each)) for role, each in seconds.items()},
        accepted,
        max(0, accepted - counts[TaskState.COMPLETED]),
        max(0, counts.total() - accepted),
        feeder.repeated,
        second_runs(log.marks, [kill.at for kill in kills]),
    )


def _round(killer: Killer, vital: str) -> list[Kill]:
    first, second = QUEUES
    victims: tuple[Callable[[], Kill], ...] = (
        lambda: killer.kill_worker(first),
        lambda: killer.kill_worker(second),
        killer.kill_logger,
        lambda: killer.kill_queue(first),
        lambda: killer.kill_queue(second),
        lambda: killer.kill_vital(vital),
        killer.kill_supervisor,
    )
    kills = []
    for kill in victims:
        killer.await_steady(QUEUES)
        kills.append(kill())
    return kills


def _await_end(store: Store, accepted: int) -> Counter[TaskState]:
    """Return all queues' counts when every task has ended, or, if that never happens, after a while."""
    deadline = time.monotonic() + END_SECONDS
    while True:
        counts: Counter[TaskState] = Counter()
        for queue in QUEUES:
            counts.update(store.counts()[queue])
        ended = sum(counts[state] for state in ENDED_STATES)
        if (ended >= accepted and ended == counts.total()) or time.monotonic() > deadline:
            return counts
        time.sleep(LOOK_SECONDS)

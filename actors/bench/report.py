"""Turn what was measured into tables for people and one JSON object for programs."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from callboard.actors.bench.backlog import MORE_MIB_TARGET, BacklogCost
from callboard.actors.bench.figures import Figure, Ratio
from callboard.actors.bench.footprint import memory_json, memory_kind
from callboard.actors.bench.kills import SECONDS_TARGETS, Recovery
from callboard.actors.bench.latency import latency_json
from callboard.actors.bench.run import Measured, Ordinary

IDLE_TARGET: Final = 0.01
BYTES_PER_MIB: Final = 2**20
WITHOUT_DISK: Final = frozenset({"tmpfs", "ramfs"})
SPREAD_COLUMNS: Final = ("", "median", "low", "high")
RATIO_COLUMNS: Final = ("ratio", "ours", "other", "value", "target", "")


class Table(NamedTuple):
    """A table under its title."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def to_json(measured: Measured) -> dict[str, Any]:
    """Return all of it for programs."""
    shown: dict[str, Any] = {"machine": measured.machine}
    if measured.ordinary is not None:
        speed, latency, memory, idle_cpu = measured.ordinary
        shown |= {
            "speed": {figure.key: figure.to_json() for figure in speed.figures},
            "ratios": {ratio.key: ratio.to_json() for ratio in speed.ratios},
            "cpu": {figure.key: figure.to_json() for figure in speed.costs},
            "latency": latency_json(latency),
            "memory": memory_json(memory),
            "idle_cpu": {"value": round(idle_cpu, 4), "target": IDLE_TARGET, "met": idle_cpu <= IDLE_TARGET},
        }
    if measured.recovery is not None:
        shown["kill"] = measured.recovery.to_json()
    if measured.backlogs is not None:
        shown["backlog"] = measured.backlogs.to_json()
    if measured.pull is not None:
        shown["pull"] = {figure.key: figure.to_json() for figure in (*measured.pull.figures, *measured.pull.costs)}
    return shown


def to_tables(measured: Measured) -> Iterator[Table]:
    """Return all of it for people."""
    if measured.ordinary is not None:
        yield from _ordinary_tables(measured.ordinary)
    if measured.recovery is not None:
        yield from _recovery_tables(measured.recovery)
    if measured.backlogs is not None:
        yield from _backlog_tables(measured.backlogs)
    if measured.pull is not None:
        for title, figures in (
            ("Consumers (tasks/s, median of the rounds)", measured.pull.figures),
            ("CPU time (microseconds for one task)", measured.pull.costs),
        ):
            yield Table(title, SPREAD_COLUMNS, [(figure.label, *_cells(figure)) for figure in figures])


def notes(measured: Measured) -> Iterator[str]:
    """Return what has to be known about this run before its figures are believed."""
    machine = measured.machine
    load, cpus = machine["load_before"][0], machine["cpus"] or 1
    yield f"Callboard {machine['callboard']}, Python {machine['python']}, {machine['system']}, {cpus} CPUs."
    if load > cpus / 2:
        yield f"The machine was busy before the run began (load {load}): the figures are too low."
    if machine["filesystem"] in WITHOUT_DISK and machine.get("store") == "sqlite":
        yield f"The store was on {machine['filesystem']}, which is no disk: set TMPDIR or --store to measure one."


def _ordinary_tables(ordinary: Ordinary) -> Iterator[Table]:
    speed = ordinary.speed
    rows = [(figure.label, *_cells(figure)) for figure in speed.figures]
    yield Table("Speed (tasks/s, median of the rounds)", SPREAD_COLUMNS, rows)
    yield Table("Ratios", RATIO_COLUMNS, [_ratio_row(ratio) for ratio in speed.ratios])
    costs = [(figure.label, *_cells(figure)) for figure in speed.costs]
    yield Table("CPU time (microseconds for one task)", SPREAD_COLUMNS, costs)
    latency = latency_json(ordinary.latency)
    rows_ms = [(name, shown["p50_ms"], shown["p99_ms"]) for name, shown in latency.items()]
    yield Table("One task on an idle server (ms after its request was sent)", ("", "p50", "p99"), rows_ms)
    sizes = [(one.role, one.pid, f"{one.size / BYTES_PER_MIB:.1f}") for one in ordinary.memory]
    total = sum(one.size for one in ordinary.memory) / BYTES_PER_MIB
    yield Table(f"Memory ({memory_kind()}, MiB)", ("process", "pid", "size"), [*sizes, ("all", None, f"{total:.1f}")])
    idle = [
        (
            "all processes, two queues",
            f"{ordinary.idle_cpu:.2%}",
            f"<= {IDLE_TARGET:.0%}",
            _met(ordinary.idle_cpu <= IDLE_TARGET),
        )
    ]
    yield Table("CPU while idle (of one core)", ("", "value", "target", ""), idle)


def _recovery_tables(recovery: Recovery) -> Iterator[Table]:
    rows: list[tuple[object, ...]] = []
    for role, figure in recovery.roles.items():
        target = SECONDS_TARGETS.get(role)
        met = None if target is None else figure.median <= target
        shown = None if target is None else f"<= {target}"
        rows.append((role, len(figure.rounds), f"{figure.median:.3f}", f"{max(figure.rounds):.3f}", shown, _met(met)))
    yield Table(
        "SIGKILL: until its place is taken and a task has ended (s)",
        ("killed", "times", "median", "max", "target", ""),
        rows,
    )
    runs = recovery.second_runs
    tasks = [
        ("accepted", recovery.accepted, None, ""),
        ("lost", recovery.lost, "0", _met(recovery.lost == 0)),
        ("doubled", recovery.doubled, "0", _met(recovery.doubled == 0)),
        ("run again because their process was killed", runs.of_killed, None, ""),
        ("run again without that reason", runs.unexplained, "0", _met(runs.unexplained == 0)),
    ]
    yield Table("Tasks", ("", "number", "target", ""), tasks)


def _backlog_tables(cost: BacklogCost) -> Iterator[Table]:
    columns = ("", "unit", *(f"{each.waiting:,} waiting" for each in cost))
    figures = zip(cost.few.figures.values(), cost.many.figures.values(), strict=True)
    rows = [(few.label, few.unit, _number(few.median), _number(many.median)) for few, many in figures]
    yield Table("Backlog (median of the rounds)", columns, rows)
    more = cost.more_mib
    grown = (
        "growth of the Queue's memory (MiB)",
        None,
        None,
        f"{more:.1f}",
        f"<= {MORE_MIB_TARGET:g}",
        _met(more <= MORE_MIB_TARGET),
    )
    yield Table("Ratios", RATIO_COLUMNS, [grown, *map(_ratio_row, cost.ratios)])


def _ratio_row(ratio: Ratio) -> tuple[object, ...]:
    sign = "<=" if ratio.at_most else ">="
    target = None if ratio.target is None else f"{sign} {ratio.target}"
    return (ratio.label, _number(ratio.ours), _number(ratio.other), f"{ratio.value:.3f}", target, _met(ratio.met))


def _cells(figure: Figure) -> tuple[str, str, str]:
    return _number(figure.median), _number(min(figure.rounds)), _number(max(figure.rounds))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"  # noqa: PLR2004 - as precise as a glance takes in


def _met(met: bool | None) -> str:  # noqa: FBT001 - a predicate's value, not an option
    return "" if met is None else "met" if met else "missed"

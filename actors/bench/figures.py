"""What was measured, as numbers: figures over some rounds, and ratios that have a target."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure in all rounds. key: its name in JSON; label: for people."""

    key: str
    label: str
    unit: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure of a run: a round that was disturbed moves it little."""
        return statistics.median(self.rounds)

    def to_json(self) -> dict[str, Any]:
        """Return the form that programs read."""
        rounds = [round(value, 4) for value in self.rounds]
        return {
            "unit": self.unit,
            "median": round(self.median, 4),
            "low": min(rounds),
            "high": max(rounds),
            "rounds": rounds,
        }


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure as a part of another, beside what it should be at least (or, with `at_most`, at most)."""

    key: str
    label: str
    ours: float
    other: float
    target: float | None = None
    at_most: bool = False

    @property
    def value(self) -> float:
        """The ratio; not a number when there is nothing to compare with."""
        return self.ours / self.other if self.other else math.nan

    @property
    def met(self) -> bool | None:
        """Whether the target is met, None where there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def to_json(self) -> dict[str, Any]:
        """Return the form that programs read."""
        value = None if math.isnan(self.value) else round(self.value, 4)
        return {
            "ours": round(self.ours, 4),
            "other": round(self.other, 4),
            "ratio": value,
            "target": self.target,
            "met": self.met,
        }


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that this part of all values does not exceed (`part` 0.99: the 99th percentile)."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]

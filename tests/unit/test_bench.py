"""How the bench judges what it has seen; nothing is measured here."""

import math
from pathlib import Path

import pytest

from callboard.actors.bench.figures import Figure, Ratio, percentile
from callboard.actors.bench.load import answer_size, post
from callboard.actors.bench.naps import Mark, NapLog, SecondRuns, second_runs
from callboard.actors.bench.plan import Plan
from callboard.actors.bench.tasks import BEGUN, ENDED


def mark(kind: str, at: float, pid: int, task_id: str = "a") -> Mark:
    return Mark(kind, at, pid, "nap", task_id)


@pytest.mark.parametrize(
    ("marks", "kills", "expected"),
    [
        # run once, whatever is killed meanwhile
        ([mark(BEGUN, 1.0, 1), mark(ENDED, 1.02, 1)], [1.01], SecondRuns(0, 0)),
        # cut short by a kill, then run by another process
        ([mark(BEGUN, 1.0, 1), mark(BEGUN, 1.1, 2), mark(ENDED, 1.12, 2)], [1.01], SecondRuns(1, 0)),
        # its last line was written, but its process was killed before it could note the end
        ([mark(BEGUN, 1.0, 1), mark(ENDED, 1.02, 1), mark(BEGUN, 1.1, 2)], [1.021], SecondRuns(1, 0)),
        # ended long before the kill: the end should have been known
        ([mark(BEGUN, 1.0, 1), mark(ENDED, 1.02, 1), mark(BEGUN, 1.9, 2)], [1.8], SecondRuns(0, 1)),
        # nothing was killed: it was given to two
        ([mark(BEGUN, 1.0, 1), mark(BEGUN, 1.01, 2), mark(ENDED, 1.02, 1)], [], SecondRuns(0, 1)),
        # something else was killed: the first process went on with other tasks
        ([mark(BEGUN, 1.0, 1), mark(BEGUN, 1.1, 2), mark(BEGUN, 1.2, 1, "b")], [1.01], SecondRuns(0, 1)),
        # killed twice
        ([mark(BEGUN, 1.0, 1), mark(BEGUN, 2.0, 2), mark(BEGUN, 3.0, 3)], [1.01, 2.01], SecondRuns(2, 0)),
    ],
)
def test_a_second_run_is_explained_only_by_a_kill_of_the_process_that_ran_it(
    marks: list[Mark], kills: list[float], expected: SecondRuns
) -> None:
    assert second_runs(marks, kills) == expected


def test_the_log_is_read_as_it_grows_and_no_line_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "naps.log"
    log = NapLog(path)
    assert log.read() == []
    path.write_text("B 1000000000 7 nap a\nE 20")
    assert log.read() == [Mark(BEGUN, 1.0, 7, "nap", "a")]
    with path.open("a") as file:
        file.write("00000000 7 nap a\n")
    assert log.read() == [Mark(ENDED, 2.0, 7, "nap", "a")]
    assert len(log.marks) == 2


def test_a_ratio_meets_its_target_from_the_right_side() -> None:
    assert Ratio("k", "l", 5, 10, 0.5).met is True
    assert Ratio("k", "l", 4, 10, 0.5).met is False
    assert Ratio("k", "l", 20, 10, 2.0, at_most=True).met is True
    assert Ratio("k", "l", 21, 10, 2.0, at_most=True).met is False
    assert Ratio("k", "l", 1, 10).met is None
    assert math.isnan(Ratio("k", "l", 1, 0, 0.5).value)
    assert Ratio("k", "l", 1, 0, 0.5).to_json()["ratio"] is None


def test_a_figure_is_the_median_of_its_rounds() -> None:
    shown = Figure("k", "l", "s", (3.0, 1.0, 100.0)).to_json()
    assert shown == {"unit": "s", "median": 3.0, "low": 1.0, "high": 100.0, "rounds": [3.0, 1.0, 100.0]}


@pytest.mark.parametrize(("part", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_one_of_the_values(part: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), part) == expected


def test_an_answer_is_as_long_as_its_head_says() -> None:
    head = b"HTTP/1.1 201 Created\r\ncontent-length: 12\r\nlocation: /x\r\n\r\n"
    assert answer_size(head[:-1]) == 0
    assert answer_size(head) == answer_size(head + b"{}") == len(head) + 12


def test_a_request_says_how_long_it_is() -> None:
    head, _, body = post("/api/tasks", {"queue": "ä"}).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api/tasks HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.splitlines()


def test_the_number_of_tasks_that_was_asked_for_holds_everywhere() -> None:
    assert Plan.of(quick=True, tasks=300).tasks == Plan.of(quick=False, tasks=300).backlog == 300
    assert Plan.of(quick=False, tasks=1).singles == 1

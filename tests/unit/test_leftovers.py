"""What a task leaves running is killed, and said."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report() -> dict[str, dict[str, Any]]:
    """What became of each scene: what was killed, and who is still there."""
    command = [sys.executable, "-m", "tests.support.leftover_scenes"]
    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert played.returncode == 0, played.stderr
    found: dict[str, dict[str, Any]] = json.loads(played.stdout)
    return found


@pytest.mark.parametrize(
    "scene",
    [
        "nothing",
        "ending",  # it is given a moment
        "unwaited",  # it had ended: it is only reaped
    ],
)
def test_what_has_ended_or_is_about_to_is_nobodys_leftover(report: dict[str, dict[str, Any]], scene: str) -> None:
    assert report[scene] == {"killed": [], "left": []}


def test_a_subprocess_that_outlives_its_task_is_killed_and_named(report: dict[str, dict[str, Any]]) -> None:
    (named,) = report["sleeper"]["killed"]
    pid, _, command = named.partition(" ")
    assert pid.isdigit()
    assert command == "(sleep 1234)"
    assert report["sleeper"]["left"] == []


@pytest.mark.parametrize("scene", ["family", "stubborn"])
def test_its_own_children_are_killed_with_it(report: dict[str, dict[str, Any]], scene: str) -> None:
    assert len(report[scene]["killed"]) >= 1
    assert report[scene]["left"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to a subreaper")
def test_one_that_has_detached_itself_is_found(report: dict[str, dict[str, Any]]) -> None:
    assert [named.partition(" ")[2] for named in report["detached"]["killed"]] == ["(sleep 1234)"]
    assert report["detached"]["left"] == []


def test_the_standard_librarys_own_process_is_left_alone(report: dict[str, dict[str, Any]]) -> None:
    assert report["helper"]["killed"] == []
    assert len(report["helper"]["left"]) == 1

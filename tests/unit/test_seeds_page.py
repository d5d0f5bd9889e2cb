"""docs/seeds.md names a test for every line of the seeds, and none that is not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "seeds.md").read_text()
TESTS = {
    name
    for path in (ROOT / "tests").rglob("*.py")
    for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
}


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 50
    assert named - TESTS == set()


@pytest.mark.parametrize(("seed", "lines"), [("J", 25), ("V", 12), ("A", 17)])
def test_every_line_of_a_seed_has_a_test(seed: str, lines: int) -> None:
    rows = dict(re.findall(rf"^\| ({seed}\d\d) \|.*\| (.*) \|$", PAGE, flags=re.MULTILINE))
    assert list(rows) == [f"{seed}{number:02}" for number in range(1, lines + 1)]
    assert {line for line, tests in rows.items() if "`test_" not in tests} == set()


def test_every_test_of_a_line_is_named() -> None:
    tests = {name for name in TESTS if re.match(r"test_(v7|async)_\d\d_", name)}
    elsewhere = {name for name in tests if f"`{name}`" not in PAGE}
    # The samples' own tests say which line they serve; the page names those that go through a server.
    assert {name for name in elsewhere if not name.startswith("test_async_06_")} == set()

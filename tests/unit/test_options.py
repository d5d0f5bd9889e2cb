import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.errors import InvalidOption
from callboard.actors.options import (
    MAX_MILLISECONDS,
    MAX_PRIORITY,
    MIN_PRIORITY,
    Backoff,
    BackoffStrategy,
    format_duration,
    parse_duration,
    parse_priority,
    show_priority,
)


class Top(random.Random):
    """The largest number that a random source gives, or nearly."""

    def random(self) -> float:
        return 1.0


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("250ms", 250),  # the smallest unit
        ("5s", 5_000),
        ("1m30s", 90_000),  # units add up
        ("1.5h", 5_400_000),  # Go's form has fractions
        ("7d", 604_800_000),  # Go's form has no days, ours has
        ("1d2h3m4s5ms", 93_784_005),  # all of them
        ("0", 0),  # the one number that needs no unit
        ("0s", 0),
        ("36500d", MAX_MILLISECONDS),  # as long as it gets
    ],
)
def test_a_duration_is_read(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "",  # nothing
        "5",  # no unit
        "-5s",  # negative
        "5 s",  # a blank
        "5s ",  # a blank at the end
        "s",  # no number
        "5S",  # a unit that isn't one
        "5s3",  # a number without a unit at the end
        "x5s",  # something before it
        "1e3s",  # no exponents
        "36501d",  # longer than a hundred years
        "9" * 400 + "d",  # more than a float holds
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption):
        parse_duration(text)


def test_a_refused_duration_shows_how_one_is_written() -> None:
    with pytest.raises(InvalidOption, match="'5 s' is not a duration: write for example 250ms, 5s, 1m30s, 2h or 7d"):
        parse_duration("5 s")


@given(st.integers(min_value=0, max_value=MAX_MILLISECONDS))
def test_a_duration_that_was_written_is_read_back_the_same(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


def test_a_duration_is_written_with_its_largest_units_first() -> None:
    assert [format_duration(ms) for ms in (0, 999, 60_000, 90_061_001)] == ["0s", "999ms", "1m", "1d1h1m1s1ms"]


@pytest.mark.parametrize(
    ("value", "priority"),
    [("low", 0), ("high", 1), (0, 0), (-7, -7), (MIN_PRIORITY, MIN_PRIORITY), (MAX_PRIORITY, MAX_PRIORITY)],
)
def test_a_priority_is_read(value: str | int, priority: int) -> None:
    assert parse_priority(value) == priority


@pytest.mark.parametrize(
    "value",
    [
        "urgent",  # no such name
        "1",  # a number as text
        True,  # Python's bool is an int
        MAX_PRIORITY + 1,  # more than the store holds
        MIN_PRIORITY - 1,
    ],
)
def test_what_is_no_priority_is_refused(value: str | int) -> None:
    with pytest.raises(InvalidOption, match='must be "low", "high" or an integer'):
        parse_priority(value)


def test_only_the_two_named_priorities_are_shown_by_name() -> None:
    assert [show_priority(priority) for priority in (-1, 0, 1, 2)] == [-1, "low", "high", 2]


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (Backoff(BackoffStrategy.NONE), [0, 0, 0]),  # at once, whatever the base
        (Backoff(BackoffStrategy.FIXED, base_ms=1_000), [1_000, 1_000, 1_000]),
        (Backoff(BackoffStrategy.LINEAR, base_ms=1_000), [1_000, 2_000, 3_000]),
        (Backoff(BackoffStrategy.EXPONENTIAL, base_ms=1_000, factor=3.0), [1_000, 3_000, 9_000]),
        (Backoff(BackoffStrategy.EXPONENTIAL, base_ms=1_000, cap_ms=2_500), [1_000, 2_000, 2_500]),  # capped
        (Backoff(BackoffStrategy.FIXED, base_ms=0), [0, 0, 0]),
    ],
)
def test_the_wait_grows_by_its_strategy(backoff: Backoff, waits: list[int]) -> None:
    rng = random.Random(1)
    assert [backoff.delay_ms(failures, rng) for failures in (1, 2, 3)] == waits


def test_jitter_only_ever_adds_to_the_wait_which_is_a_minimum() -> None:
    backoff = Backoff(base_ms=1_000, jitter=0.1)
    waits = [backoff.delay_ms(1, random.Random(seed)) for seed in range(100)]
    assert min(waits) >= 1_000
    assert len(set(waits)) > 10
    assert backoff.delay_ms(1, Top()) == 1_100


def test_the_wait_after_very_many_failures_is_the_cap() -> None:
    backoff = Backoff(BackoffStrategy.EXPONENTIAL, factor=100.0, cap_ms=60_000)
    assert backoff.delay_ms(1_000_000, random.Random(1)) == 60_000


def test_a_backoff_is_written_as_plain_json() -> None:
    assert Backoff().to_json() == {"strategy": "fixed", "base_ms": 1_000, "factor": 2.0, "cap_ms": 3_600_000, "jitter": 0.0}

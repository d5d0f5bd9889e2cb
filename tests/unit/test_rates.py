"""How fast a queue is worked, over the last minute."""

import pytest

from callboard.actors.rates import Rates


def test_in_the_first_minute_the_rate_is_over_the_time_that_there_was() -> None:
    rates = Rates(1_000.0)
    rates.add("completed", 30, 1_001.0)
    assert rates.per_second("completed", 1_010.0) == pytest.approx(3.0)
    assert rates.per_second("failed", 1_010.0) == 0.0


def test_in_the_first_second_the_rate_is_not_blown_up() -> None:
    rates = Rates(1_000.0)
    rates.add("completed", 5, 1_000.001)
    assert rates.per_second("completed", 1_000.001) == 5.0


def test_what_is_more_than_a_minute_old_is_forgotten() -> None:
    rates = Rates(0.0)
    rates.add("completed", 600, 100.0)
    rates.add("completed", 60, 130.0)
    assert rates.per_second("completed", 131.0) == pytest.approx(11.0)
    assert rates.per_second("completed", 160.0) == pytest.approx(1.0)
    assert rates.per_second("completed", 190.0) == 0.0


def test_amounts_of_one_second_add_up_and_nothing_counts_as_nothing() -> None:
    rates = Rates(0.0)
    for amount in (1.5, 0.0, 2.5):
        rates.add("busy", amount, 100.2)
    assert rates.per_second("busy", 100.9) == pytest.approx(4 / 60)


def test_memory_does_not_grow_with_time() -> None:
    rates = Rates(0.0)
    for second in range(10_000):
        rates.add("completed", 1, float(second))
    assert len(rates._buckets) <= 61

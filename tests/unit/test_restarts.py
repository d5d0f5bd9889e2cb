"""How long the supervisor waits before it starts over."""

from callboard.actors.restarts import Restarts


def test_the_first_restart_is_at_once_and_later_ones_wait_twice_as_long_up_to_the_cap() -> None:
    restarts = Restarts()
    delays = [restarts.delay_after(1.0) for _ in range(10)]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_healthy_life_is_forgiven_what_was_before() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.delay_after(29.9)
    assert restarts.delay_after(30.0) == 0.0
    assert restarts.delay_after(0.0) == 0.1


def test_endless_deaths_overflow_nothing() -> None:
    assert Restarts(in_a_row=5000).delay_after(0.0) == 10.0

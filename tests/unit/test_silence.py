"""Who is silent for too long, and who only had no chance to say anything."""

from callboard.actors.silence import HELD_UP_SECONDS, Silence


def looked_at(silence: Silence, *moments: float) -> list[bool]:
    return [silence.is_too_long(moment) for moment in moments]


def test_a_silence_that_was_listened_to_ends_when_it_is_too_long() -> None:
    silence = Silence(100.0, bearable=3.0, look_within=1.0)
    assert looked_at(silence, 101, 102, 103, 103.5) == [False, False, False, True]
    silence.heard(104)
    assert looked_at(silence, 104.5, 105.5, 106.5, 107.5) == [False, False, False, True]


def test_a_listener_who_was_held_up_lets_the_whole_silence_begin_anew() -> None:
    silence = Silence(100.0, bearable=3.0, look_within=1.0)
    assert looked_at(silence, 101, 201, 202, 203, 204, 205) == [False] * 5 + [True]


def test_a_listener_who_is_only_a_little_late_forgives_nothing() -> None:
    silence = Silence(100.0, bearable=3.0, look_within=1.0)
    late = 1.0 + HELD_UP_SECONDS
    assert looked_at(silence, 100 + late, 100 + 2 * late) == [False, True]

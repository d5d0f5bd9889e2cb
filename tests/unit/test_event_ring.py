"""What the ring keeps, what it forgets, and what it says of that."""

import pytest

from callboard.actors.event_ring import EventRing


@pytest.fixture
def ring() -> EventRing:
    """Events 1-3 and 6 of queue a, 4-5 of b."""
    ring = EventRing(10, 1_000)
    for queue, size in (("a", 3), ("b", 2), ("a", 1)):
        ring.add(queue, size, b"x" * size)
    return ring


def firsts(ring: EventRing, after: int, *queues: str, max_bytes: int | None = None) -> list[int]:
    return [batch.first for batch in ring.read(after, queues, max_bytes).batches]


def test_an_empty_ring_has_nothing_and_misses_nothing() -> None:
    ring = EventRing(10, 1_000)
    assert (ring.oldest, ring.last) == (1, 0)
    assert ring.read(0) == ((), 0, 0)


@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, [1, 4, 6]), (1, [1, 4, 6]), (3, [4, 6]), (4, [4, 6]), (5, [6]), (6, [])],
)
def test_a_reader_gets_the_batches_with_what_comes_after(ring: EventRing, after: int, expected: list[int]) -> None:
    assert firsts(ring, after) == expected
    assert ring.read(after).upto == 6


def test_a_reader_of_some_queues_is_moved_on_past_the_others(ring: EventRing) -> None:
    assert firsts(ring, 0, "b") == [4]
    assert ring.read(0, ["b"]).upto == 6
    assert ring.read(5, ["b"]) == ((), 0, 6)


def test_what_concerns_all_queues_comes_through_every_filter(ring: EventRing) -> None:
    ring.add("", 1, b"gap")
    assert firsts(ring, 0, "b") == [4, 7]


def test_a_reader_gets_about_so_many_bytes_and_goes_on_from_there(ring: EventRing) -> None:
    read = ring.read(0, max_bytes=4)
    assert ([batch.first for batch in read.batches], read.upto) == ([1], 3)
    assert firsts(ring, 3, max_bytes=1) == [4]
    assert firsts(ring, 0, max_bytes=5) == [1, 4]


def test_the_oldest_batches_go_when_there_are_too_many_events(ring: EventRing) -> None:
    ring.add("a", 5, b"more")
    assert (ring.oldest, ring.last) == (4, 11)
    assert ring.read(0).missed == 3
    assert ring.read(2).missed == 1
    assert ring.read(3).missed == 0


def test_the_oldest_batches_go_when_they_take_too_many_bytes(ring: EventRing) -> None:
    ring.add("a", 1, b"x" * 999)
    assert ring.oldest == 6
    ring.add("a", 1, b"x" * 5_000)
    assert (ring.oldest, ring.last) == (8, 8)  # the newest is kept whatever its size


def test_a_ring_that_starts_over_numbers_on_from_there(ring: EventRing) -> None:
    ring.start_over(20)
    assert (ring.oldest, ring.last) == (21, 20)
    assert ring.read(6) == ((), 14, 20)
    assert ring.add("a", 2, b"").first == 21


def test_a_place_that_was_never_reached_is_taken_back_to_the_newest(ring: EventRing) -> None:
    assert ring.read(99) == ((), 0, 6)

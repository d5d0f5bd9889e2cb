"""Events on their way: packed, numbered, written as text, and read again."""

import json

import pytest

from callboard.actors import Event, EventKind
from callboard.actors.event import Row, event_id, events_of, gap_row, pack, read_event_id, unpack, written
from callboard.actors.messages import EventBatch
from callboard.actors.sse import SseReader

AT = 1_800_000_000_123_000
ROWS: list[Row] = [
    ("enqueued", AT, "t1", "wörk\n", 0, 1_500, {"run_at": "2027-01-15T08:00:01.000Z"}),
    ("started", AT + 2_000, "t1", "wörk\n", 1, 0, None),
    ("crashed", AT + 5_000, "t1", "wörk\n", 1, 3_001, {"kind": "crash", "message": 'said "no"\n\n', "exit": "SIGKILL"}),
    ("dead", AT + 5_000, "t1", "wörk\n", 1, None, None),
    gap_row(AT, "because", None),
]


@pytest.fixture
def batch() -> EventBatch:
    return EventBatch(11, len(ROWS), "mail", pack(ROWS))


def test_rows_come_out_as_they_were_packed() -> None:
    assert list(unpack(pack(ROWS))) == ROWS


def test_many_rows_take_few_bytes() -> None:
    rows: list[Row] = [
        ("completed", AT + n, f"0199f1c2-7a4e-7c01-9b0e-{n:012x}", "a.b:c", 1, 50, None) for n in range(1_000)
    ]
    # Their ids are 36 bytes of that, the rest is shared.
    assert len(pack(rows)) < 70 * len(rows)


def test_a_reader_gets_objects_with_what_the_queue_has_told(batch: EventBatch) -> None:
    events = list(events_of("e", batch))
    assert [event.id for event in events] == [f"e-{number}" for number in range(11, 16)]
    assert events[0] == Event(
        "e-11", EventKind.ENQUEUED, "mail", "t1", "wörk\n", 0, AT, 1.5, {"run_at": "2027-01-15T08:00:01.000Z"}
    )
    assert events[1].latency_ms == 0
    assert events[2].detail["exit"] == "SIGKILL"
    assert (events[3].latency_ms, events[3].detail, events[3].correlation_id) == (None, {}, "t1")
    assert (events[4].kind, events[4].task_id) == (EventKind.GAP, "")


def test_a_reader_gets_none_that_it_has(batch: EventBatch) -> None:
    assert [event.id for event in events_of("e", batch, after=13)] == ["e-14", "e-15"]


def test_the_text_says_what_the_object_says(batch: EventBatch) -> None:
    (text,) = written("e", batch)
    assert (text.first, text.size, text.queue) == (11, 5, "mail")
    blocks = text.packed.decode("ascii").split("\n\n")
    assert blocks.pop() == ""
    for block, event in zip(blocks, events_of("e", batch), strict=True):
        place, kind, data = block.split("\n")
        assert (place, kind) == (f"id: {event.id}", f"event: {event.kind}")
        assert json.loads(data.removeprefix("data: ")) == event.to_json()
        assert Event.from_json(event.to_json()) == event


def test_a_large_batch_is_written_in_parts(batch: EventBatch) -> None:
    parts = list(written("e", batch, at_most=2))
    assert [(part.first, part.size) for part in parts] == [(11, 2), (13, 2), (15, 1)]
    assert b"".join(part.packed for part in parts) == next(written("e", batch)).packed


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
def test_a_stream_is_read_in_whatever_pieces_it_comes(batch: EventBatch, size: int) -> None:
    text = b"retry: 1000\nid: e-10\n\n: still here\nid: e-10\n\n" + next(written("e", batch)).packed
    reader = SseReader()
    events = [event for start in range(0, len(text), size) for event in reader.feed(text[start : start + size])]
    assert events == list(events_of("e", batch))
    assert reader.last_id == "e-15"


def test_half_an_event_is_forgotten_with_its_connection(batch: EventBatch) -> None:
    text = next(written("e", batch)).packed
    reader = SseReader()
    assert reader.feed(text[:150]) == []
    reader.connected()
    assert reader.feed(text) == list(events_of("e", batch))


def test_a_comment_moves_the_place_on_without_an_event() -> None:
    reader = SseReader("e-1")
    assert reader.feed(b": still here\nid: e-7\n\n") == []
    assert reader.last_id == "e-7"


@pytest.mark.parametrize("epoch", ["1a20.4f", "a-b"])
def test_an_id_names_epoch_and_number(epoch: str) -> None:
    assert read_event_id(event_id(epoch, 12)) == (epoch, 12)


@pytest.mark.parametrize(
    "text", ["", "12", "-12", "e-", "e-x", "e--", "e-\N{SUPERSCRIPT TWO}", "e-\N{ARABIC-INDIC DIGIT ONE}"]
)
def test_what_is_no_id_is_of_no_epoch(text: str) -> None:
    assert read_event_id(text) == ("unknown", 0)

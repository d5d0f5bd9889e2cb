"""What an event is: one transition of one task, as a row on its way through the processes and as people see it.

A row is `(kind, at, task_id, type, attempt, latency, detail)`: times in microseconds, latency and detail None where there is
none. Thousands a second travel, so they are packed by columns, and become objects or text only at the end of their way.
"""

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from callboard.actors.messages import EventBatch
from callboard.actors.task import format_time, parse_time


class EventKind(StrEnum):
    """What has happened. A failed attempt is two events: how the attempt ended, and what became of the task."""

    ENQUEUED = "enqueued"
    """It is stored. latency: since it was made at the edge."""
    DUE = "due"
    """Its time has come (scheduled, or waiting for its retry): it is available now."""
    STARTED = "started"
    """An attempt has begun. latency: since it was available."""
    COMPLETED = "completed"
    """latency: how long the attempt took; the same for the next five."""
    FAILED = "failed"
    """The attempt raised, or returned what it may not."""
    CRASHED = "crashed"
    """Its worker process died."""
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    """Callboard itself ended it: not charged, it is available again."""
    RELEASED = "released"
    """It was shown as executing, and taken back before it had begun."""
    RETRY_SCHEDULED = "retry_scheduled"
    """It waits for its next attempt: `detail.run_at`."""
    DEAD = "dead"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    """Put back by hand."""
    CHANGED = "changed"
    """Somebody has changed its `priority`, its time (`run_at`) or its `queue`, as `detail` says."""
    GAP = "gap"
    """Of no task: events are missing here, `detail.missed` of them (null: nobody knows how many)."""
    DROPPED = "dropped"
    """Of no task, and the last: the subscriber has not read, and `detail.missed` events are gone."""


Row = tuple[str, int, str, str, int, int | None, Mapping[str, Any] | None]
PER_MILLISECOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a subscriber gets it. `at` in microseconds since the epoch; `queue` "" where it concerns all."""

    id: str
    """Where in the stream it is; to go on from there later."""
    kind: EventKind
    queue: str
    task_id: str
    """"" for `gap` and `dropped`."""
    type: str
    attempt: int
    at: int
    latency_ms: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def correlation_id(self) -> str:
        """What all events of one task have in common: its id."""
        return self.task_id

    def to_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "id": self.id,
            "event": str(self.kind),
            "queue": self.queue,
            "task_id": self.task_id or None,
            "correlation_id": self.correlation_id or None,
            "type": self.type,
            "attempt": self.attempt,
            "at": format_time(self.at),
            "latency_ms": self.latency_ms,
            "detail": self.detail,
        }

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> "Event":
        """Return the event that `to_json` wrote; its time is whole milliseconds."""
        return cls(
            id=shown["id"],
            kind=EventKind(shown["event"]),
            queue=shown["queue"],
            task_id=shown["task_id"] or "",
            type=shown["type"],
            attempt=shown["attempt"],
            at=parse_time(shown["at"]),
            latency_ms=shown["latency_ms"],
            detail=shown["detail"],
        )


def pack(rows: Iterable[Row]) -> bytes:
    """Write rows by columns; texts that they share are written once.

    Not compressed, though they would be a fifth: that took a Queue 170 ns for an event, more than to send what it spares
    (1.2 ns for a byte on each side, in messages of up to 640 kB).
    """
    return pickle.dumps(tuple(zip(*rows, strict=True)), protocol=pickle.HIGHEST_PROTOCOL)


def unpack(packed: bytes) -> Iterator[Row]:
    """Read what `pack` wrote. Only of bytes that came in a sealed message."""
    return zip(*pickle.loads(packed), strict=True)  # noqa: S301 - see above


def gap_row(at: int, reason: str, missed: int | None, kind: EventKind = EventKind.GAP) -> Row:
    """Return the row that says that events are missing here."""
    return (str(kind), at, "", "", 0, None, {"missed": missed, "reason": reason})


def event_id(epoch: str, number: int) -> str:
    """Return an event's id. The epoch is that of the Events actor that has numbered it."""
    return f"{epoch}-{number}"


def read_event_id(text: str) -> tuple[str, int]:
    """Return epoch and number of an id; of what is none, an epoch that never was."""
    epoch, _, number = text.strip().rpartition("-")
    if not epoch or not number.isdecimal() or not number.isascii():
        return "unknown", 0
    return epoch, int(number)


def events_of(epoch: str, batch: EventBatch, after: int = 0) -> Iterator[Event]:
    """Yield a batch's events whose number is higher than `after`."""
    for number, row in enumerate(unpack(batch.packed), batch.first):
        if number > after:
            kind, at, task_id, type_, attempt, latency, detail = row
            shown = None if latency is None else latency / PER_MILLISECOND
            yield Event(
                event_id(epoch, number), EventKind(kind), batch.queue, task_id, type_, attempt, at, shown, dict(detail or {})
            )


def written(epoch: str, batch: EventBatch, at_most: int = 1_000) -> Iterator[EventBatch]:
    """Yield a batch as Server-Sent Events, in parts of so many; each event is ended by an empty line."""
    texts = _texts(epoch, batch)
    for start in range(0, len(texts), at_most):
        part = texts[start : start + at_most]
        yield EventBatch(batch.first + start, len(part), batch.queue, "".join(part).encode("ascii"))


def _texts(epoch: str, batch: EventBatch) -> list[str]:
    """Write each event; its JSON is that of `Event.to_json`, made past the object, which would take ten times as long.

    What many events have in common is written once: the texts around them, the times of a millisecond, equal latencies.
    """
    texts = []
    queue = json.dumps(batch.queue)
    heads: dict[tuple[str, str, int], str] = {}
    times: dict[int, str] = {}
    latencies: dict[int | None, str] = {None: "null"}
    for number, (kind, at, task_id, type_, attempt, latency, detail) in enumerate(unpack(batch.packed), batch.first):
        if (head := heads.get((kind, type_, attempt))) is None:
            of_what = f'"event":"{kind}","queue":{queue},"type":{json.dumps(type_)},"attempt":{attempt}'
            head = heads[kind, type_, attempt] = f"\nevent: {kind}\ndata: {{{of_what},"
        if (time := times.get(at // PER_MILLISECOND)) is None:
            time = times[at // PER_MILLISECOND] = format_time(at)
        if (took := latencies.get(latency)) is None:
            took = latencies[latency] = str((latency or 0) / PER_MILLISECOND)
        task = f'"{task_id}"' if task_id else "null"
        more = "{}" if detail is None else json.dumps(detail, separators=(",", ":"))
        texts.append(
            f'id: {epoch}-{number}{head}"id":"{epoch}-{number}","task_id":{task},"correlation_id":{task},'
            f'"at":"{time}","latency_ms":{took},"detail":{more}}}\n\n'
        )
    return texts

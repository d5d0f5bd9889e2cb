"""Read Server-Sent Events: text that comes in pieces, into the events of ours that it tells."""

import json

from callboard.actors.event import Event


class SseReader:
    """Reads one connection after the other; `last_id` says where the stream is."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._rest = b""

    def connected(self) -> None:
        """Forget the piece of an event with which the connection before has ended."""
        self._rest = b""

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that are complete with this piece."""
        *blocks, self._rest = (self._rest + piece).split(b"\n\n")
        return [event for block in blocks if (event := self._read(block)) is not None]

    def _read(self, block: bytes) -> Event | None:
        data = []
        for line in block.split(b"\n"):
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data.append(value)
            elif name == b"id":
                self.last_id = value.decode()
        return Event.from_json(json.loads(b"\n".join(data))) if data else None

"""A body is read in whatever pieces it comes, and no further than is of use."""

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from callboard.http import validation
from callboard.http.problems import Problem
from callboard.http.validation import read_body


class Sender:
    """Plays a client that sends these pieces, and then goes away unless that was all."""

    def __init__(self, *pieces: bytes, complete: bool = True) -> None:
        last = len(pieces) - 1
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": not complete or number < last}
            for number, piece in enumerate(pieces)
        ]

    async def receive(self) -> dict[str, Any]:
        return self.messages.pop(0) if self.messages else {"type": "http.disconnect"}

    def read(self, limit: int) -> bytes:
        return asyncio.run(read_body(Request({"type": "http", "headers": []}, self.receive), limit))


@pytest.mark.parametrize(
    ("pieces", "limit"),
    [
        ([b""], 0),  # none at all
        ([b"abcd"], 4),  # as long as may be
        ([b"ab", b"cd"], 4),  # in pieces
        ([b"abcd", b""], 4),  # with an empty end
    ],
)
def test_a_body_is_put_together(pieces: list[bytes], limit: int) -> None:
    assert Sender(*pieces).read(limit) == b"".join(pieces)


@pytest.mark.parametrize("pieces", [[b"abcde"], [b"abc", b"de"], [b"", b"abcdef", b"g"]])
def test_a_body_that_is_too_long_is_read_to_its_end_and_refused(pieces: list[bytes]) -> None:
    sender = Sender(*pieces)
    with pytest.raises(Problem, match="larger than max_body, 4 bytes"):
        sender.read(4)
    assert not sender.messages


def test_a_body_without_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "DRAIN_BYTES", 8)
    sender = Sender(*[b"abc"] * 100)
    with pytest.raises(Problem, match="larger"):
        sender.read(4)
    assert len(sender.messages) == 97


@pytest.mark.parametrize("pieces", [[], [b"ab"], [b"abcdef"]])
def test_a_client_that_goes_away_ends_the_reading(pieces: list[bytes]) -> None:
    with pytest.raises(ClientDisconnect):
        Sender(*pieces, complete=False).read(4)

"""Seal, key and receive buffer, without any socket."""

import pickle
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.sealed import (
    MAX_FRAME_BYTES,
    BadSeal,
    MessageTooLarge,
    Seal,
    SealedBuffer,
    create_key,
    read_key,
    seal,
)

# isort: split
from thespian.system.transport import TCPTransport
from thespian.system.transport.IPBase import TCPv4ActorAddress

KEY = bytes(range(32))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("it was unpickled",)


def framed(payload: bytes) -> bytes:
    return b"%d>" % len(payload) + payload


def test_a_sealed_message_comes_back() -> None:
    message = {"context": [1, "two", None]}
    assert Seal(KEY).loads(Seal(KEY).dumps(message)) == message


@pytest.mark.parametrize(
    "frame",
    [
        b"",  # nothing
        b"x" * 31,  # shorter than a seal
        bytes(32),  # a seal of nothing
        pickle.dumps(Bomb()),  # as thespian itself would take it
        bytes(32) + pickle.dumps(Bomb()),  # with a wrong seal
        Seal(bytes(32)).dumps(Bomb()),  # with the seal of another key
        Seal(KEY).dumps("fine")[:32] + pickle.dumps(Bomb()),  # with the seal of another message
    ],
)
def test_what_does_not_bear_our_seal_is_not_unpickled(frame: bytes) -> None:
    with pytest.raises(BadSeal):
        Seal(KEY).loads(frame)


def test_a_single_changed_bit_breaks_the_seal() -> None:
    frame = bytearray(Seal(KEY).dumps("message"))
    for place in range(len(frame)):
        frame[place] ^= 1
        with pytest.raises(BadSeal):
            Seal(KEY).loads(frame)
        frame[place] ^= 1
    assert Seal(KEY).loads(frame) == "message"


def test_a_message_that_the_receiver_would_refuse_is_not_sent() -> None:
    with pytest.raises(MessageTooLarge):
        Seal(KEY).dumps(bytes(MAX_FRAME_BYTES))


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Seal(b"short")


@given(st.binary(max_size=300), st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=40))
def test_a_frame_is_complete_however_it_was_cut(payload: bytes, cuts: list[int]) -> None:
    frame = framed(Seal(KEY).dumps(payload))
    buffer = SealedBuffer(Seal(KEY).loads)
    assert buffer.is_empty()
    for cut in cuts:
        buffer.addMore(frame[:cut])
        frame = frame[cut:]
    buffer.addMore(frame)
    assert buffer.isDone()
    assert not buffer.is_empty()
    assert buffer.completed() == (payload, b"")


def test_what_follows_a_frame_is_kept_until_it_is_removed() -> None:
    buffer = SealedBuffer(Seal(KEY).loads)
    buffer.addMore(framed(Seal(KEY).dumps("message")) + b"next")
    assert buffer.completed() == ("message", b"next")
    buffer.removeExtra()
    assert buffer.completed() == ("message", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"-5>xxxxx",  # a negative length, by which thespian's own buffer ends the actor
        b"0>",  # nothing at all
        b"32>" + bytes(32),  # a seal without a message
        b" 64>" + bytes(64),  # int() would take it
        b"6_4>" + bytes(64),  # this too
        b">",  # no length
        b"x" * 13,  # no end of the header
        b"%d>" % (MAX_FRAME_BYTES + 1),  # more than we would wait for
        b"99999999999999999999999>",  # far more
        framed(pickle.dumps(Bomb())),
    ],
)
def test_a_hostile_frame_is_over_at_once_and_yields_nothing(data: bytes) -> None:
    buffer = SealedBuffer(Seal(KEY).loads)
    buffer.addMore(data)
    assert buffer.isDone()
    assert buffer.completed() is None
    assert buffer.remainingAmount() >= 1
    buffer.addMore(b"more")
    assert buffer.completed() is None


@given(st.binary(max_size=60))
def test_no_bytes_make_the_buffer_raise_or_ask_for_nothing(data: bytes) -> None:
    buffer = SealedBuffer(Seal(KEY).loads)
    for place in range(len(data)):
        buffer.addMore(data[place : place + 1])
        assert buffer.remainingAmount() >= 1
    assert buffer.completed() is None


def test_an_incomplete_frame_yields_nothing_yet() -> None:
    buffer = SealedBuffer(Seal(KEY).loads)
    frame = framed(Seal(KEY).dumps("message"))
    buffer.addMore(frame[:-1])
    assert not buffer.isDone()
    assert buffer.completed() is None
    assert buffer.remainingAmount() == 1


def test_a_key_file_is_private_new_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = create_key(path)
    assert read_key(path) == key
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_key(path)
    assert create_key(tmp_path / "other") != key


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(ValueError, match="does not hold a key"):
        read_key(tmp_path / "key")


def test_sealing_covers_messages_and_acknowledgements_and_can_be_done_again() -> None:
    for key in (KEY, bytes(32)):
        seal(key)
        sealer = Seal(key)
        assert TCPTransport.serializer.dumps("message") == sealer.dumps("message")
        for acknowledgement, text in ((TCPTransport.ackMsg, "ACK"), (TCPTransport.ackDataErrMsg, "ACK+DATAERR")):
            buffer = TCPTransport.ReceiveBuffer(sealer.loads)
            buffer.addMore(acknowledgement)
            assert buffer.completed() == (text, b"")


@pytest.mark.parametrize("external", [True, False])
def test_a_sealed_transport_binds_to_loopback(external: bool) -> None:
    seal(KEY)
    assert TCPv4ActorAddress(None, 1234, external=external).bindArgs == (("127.0.0.1", 1234),)

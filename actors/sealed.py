"""Authenticate every frame that actors exchange, before any of it is unpickled, and bind their sockets to loopback.

Thespian as it comes listens on all interfaces and unpickles whatever arrives. Sealing replaces, in this process and in all
that are forked from it, the serializer and the receive buffer of its TCP transport. A frame on the wire is
`<length>>` + HMAC-SHA256 (32 bytes) + pickle; one with a wrong seal is answered with a refusal and forgotten.

The key is one for the whole process: to seal again with another key ends the talk with whoever has the first.
"""

import hashlib
import hmac
import os
import pickle
import secrets
from pathlib import Path
from typing import Any, Final

from callboard.actors.thespian_env import LOOPBACK

# isort: split
from thespian.system.transport import IPBase, TCPTransport, streamBuffer

KEY_BYTES: Final = 32
SEAL_BYTES: Final = hashlib.sha256().digest_size
MAX_HEADER_BYTES: Final = 12
# Far above what we send (thespian needs seconds for 50 MB), and below what would hurt if a stranger announced it.
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024


class BadSeal(Exception):
    """A frame was not made with our key."""


class MessageTooLarge(Exception):
    """A message is larger than MAX_FRAME_BYTES."""


class Seal:
    """Pickle with a seal, unpickle only what bears it; stands in for the `pickle` module in thespian's transport."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        # Keyed once: a copy of the prepared state is quicker than a new HMAC for each frame.
        self._mac = hmac.new(key, digestmod=hashlib.sha256)

    def _seal_of(self, body: bytes | memoryview) -> bytes:
        mac = self._mac.copy()
        mac.update(body)
        return mac.digest()

    def dumps(self, message: object) -> bytes:
        """Return the sealed pickle of a message; raise MessageTooLarge rather than send what would be refused."""
        body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        if SEAL_BYTES + len(body) > MAX_FRAME_BYTES:
            raise MessageTooLarge(f"a message of {len(body)} bytes is larger than the receiver would take")
        return self._seal_of(body) + body

    def loads(self, frame: bytes | bytearray) -> Any:
        """Return the message in a frame; raise BadSeal, having unpickled nothing, if the frame isn't ours."""
        view = memoryview(frame)
        if not hmac.compare_digest(view[:SEAL_BYTES], self._seal_of(view[SEAL_BYTES:])):
            raise BadSeal
        return pickle.loads(view[SEAL_BYTES:])  # noqa: S301  # sealed with our key: written by one of our processes


class SealedBuffer:
    """Collect one frame from a socket; whatever strangers send, never raise, for that would end the actor.

    Stands in for thespian's ReceiveBuffer, in which `-5>` or a header without end kills the receiving actor or fills
    its memory, and in which large messages are copied once per packet.
    """

    def __init__(self, loads: Any) -> None:
        self._loads = loads
        self._header = b""
        self._body = bytearray()
        self._size: int | None = None
        self._extra = b""
        self._broken = False

    def addMore(self, data: bytes) -> None:  # noqa: N802  # thespian's name
        """Take what was read; data after a complete frame is kept as extra."""
        if self._broken or not data:
            return
        if self._size is None:
            header, mark, data = (self._header + data).partition(b">")
            if not mark:
                self._header = header
                self._broken = len(header) > MAX_HEADER_BYTES
                return
            self._size = _frame_size(header)
            self._broken = self._size is None
            if self._size is None:
                return
        wanted = self._size - len(self._body)
        self._body += data[:wanted]
        self._extra += bytes(data[wanted:])

    def is_empty(self) -> bool:
        """Return whether nothing has been received."""
        return not self._header and self._size is None and not self._broken

    def remainingAmount(self) -> int:  # noqa: N802  # thespian's name
        """Return how many bytes to read next, never less than 1: thespian hands this to `recv`."""
        return max(1, MAX_HEADER_BYTES if self._size is None else self._size - len(self._body))

    def isDone(self) -> bool:  # noqa: N802  # thespian's name
        """Return whether there is no use in reading on."""
        return self._broken or (self._size is not None and len(self._body) == self._size)

    def removeExtra(self) -> None:  # noqa: N802  # thespian's name
        """Forget what came after the frame."""
        self._extra = b""

    def completed(self) -> tuple[Any, bytes] | None:
        """Return the message and what came after it, or None if there is no complete frame with our seal."""
        if self._broken or self._size is None or len(self._body) != self._size:
            return None
        try:
            return self._loads(self._body), self._extra
        except BadSeal:
            return None


def _frame_size(header: bytes) -> int | None:
    if not header.isdigit() or len(header) > MAX_HEADER_BYTES:
        return None
    size = int(header)
    return size if SEAL_BYTES < size <= MAX_FRAME_BYTES else None


def create_key(path: Path) -> bytes:
    """Write a new random key to a file that must not exist yet, readable by its owner alone, and return it."""
    key = secrets.token_bytes(KEY_BYTES)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    return key


def read_key(path: Path) -> bytes:
    """Return the key in a file; raise OSError if it can't be read, ValueError if it isn't a key."""
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} does not hold a key")
    return key


def seal(key: bytes) -> None:
    """Seal thespian's transport in this process, and in all that it forks, with a key; a later call replaces the key."""
    sealer = Seal(key)
    TCPTransport.serializer = sealer
    TCPTransport.ReceiveBuffer = SealedBuffer
    # The acknowledgements are frames too, made once at import: without this every message would wait for its retry.
    TCPTransport.ackMsg = streamBuffer.toSendBuffer(streamBuffer.ackPacket, sealer.dumps)
    TCPTransport.ackDataErrMsg = streamBuffer.toSendBuffer(streamBuffer.ackDataErrPacket, sealer.dumps)
    # Thespian binds to every interface whatever address it is told to be known by.
    IPBase.IPActorAddress.bindArgs = property(lambda address: ((LOOPBACK, address.bindname[1]),))

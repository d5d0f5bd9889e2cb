"""The thread that asks for the actor system's events and writes them as text, once for all who follow them over HTTP."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from threading import Event as Flag
from threading import Thread
from typing import Final

from callboard.actors.errors import CallboardError
from callboard.actors.event import written
from callboard.actors.event_reader import EventReader
from callboard.actors.messages import EventBatch, EventsFollow

WAIT_SECONDS: Final = 2.0
LEASE_SECONDS: Final = 5.0
PACE_SECONDS: Final = 0.05
"""A question and its answer cost a millisecond: what happens within this time comes together."""
PAUSE_SECONDS: Final = 0.2

log = logging.getLogger(__name__)


class EventFeed:
    """Runs from its making on, in the background, until it is stopped or not wanted any more.

    make_reader: makes what it asks with; the flag has that give up. is_wanted: called in the thread. take: called in the
    event loop with each answer and the texts of its events, in parts. gone: called there at last, whatever has ended it.
    """

    def __init__(
        self,
        make_reader: Callable[[Flag], EventReader],
        is_wanted: Callable[[], bool],
        take: Callable[[EventsFollow, list[EventBatch]], None],
        gone: Callable[[], None],
    ) -> None:
        self._make_reader = make_reader
        self._is_wanted = is_wanted
        self._take = take
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._stop = Flag()
        self._thread = Thread(target=self._run, name="callboard-events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have it end."""
        self._stop.set()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            with contextlib.closing(self._make_reader(self._stop)) as reader:
                self._bring(reader)
        except Exception:
            # Whatever it was: who follows would wait for ever for a thread that has ended in silence.
            log.exception("the events could not be asked for")
            self._stop.wait(PAUSE_SECONDS)
        finally:
            self._hand_over(self._gone)

    def _bring(self, reader: EventReader) -> None:
        wait = 0.0
        while not self._stop.is_set() and self._is_wanted():
            follow = _read(reader, wait)
            if follow is None:
                self._stop.wait(PAUSE_SECONDS)
                continue
            wait = WAIT_SECONDS
            parts = [part for batch in follow.batches for part in written(follow.epoch, batch)]
            self._hand_over(self._take, follow, parts)
            self._stop.wait(PACE_SECONDS)

    def _hand_over(self, take: Callable[..., None], *what: object) -> None:
        # The loop may have been closed meanwhile; then nobody waits for this any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(take, *what)


def _read(reader: EventReader, wait: float) -> EventsFollow | None:
    """Return the next events, None if there are none to be had just now."""
    try:
        return reader.read(wait)
    except CallboardError:
        return None  # there is no Events actor just now: another one is being started
    except Exception:
        log.exception("the events could not be read; it is tried again")
        return None

"""What a worker tells of an attempt beside its beginning and end: what it has logged, and the process that it goes on in."""

import json

from callboard.actors.attempt_logs import read_lines
from callboard.actors.crew import Batch, Flight, Slot
from callboard.actors.hand_out import Mark, Record
from callboard.actors.shared_tokens import key_of


def note(flight: Flight, record: Record) -> None:
    """Take note of a record that is neither beginning nor end."""
    if record.mark == Mark.LOGGED:
        flight.logs = tuple(json.loads(record.payload))
    elif record.mark == Mark.LAUNCHED:
        flight.launched = int(record.payload)


def recall_logs(slot: Slot, batch: Batch) -> None:
    """Find what the tasks had logged that ran when their worker died."""
    assert slot.logs is not None
    numbers = {batch.number_of(key) for key in batch.flights}
    for number in numbers:
        for index, lines in read_lines(slot.logs, number).items():
            key = index if number == batch.number else key_of(number, index)
            if key in batch.flights:
                batch.flights[key].logs = tuple(lines)

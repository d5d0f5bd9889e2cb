"""Put a queue's waiting tasks in order after its `aging` has been changed: each as if it had come under the new one."""

import logging
from typing import Final

from callboard.actors.crew import Crew
from callboard.actors.leases import Leases
from callboard.actors.lifecycle import place
from callboard.actors.ordering import Order, replaced
from callboard.actors.store import Change, QueueStore, ReadyTask
from callboard.actors.window import Window

AT_ONCE: Final = 1_000
BYTES_AT_ONCE: Final = 4_000_000

log = logging.getLogger(__name__)


def put_in_order(store: QueueStore, order: Order) -> int:
    """Place all available tasks by this order that are not; return how many. Raises `StoreUnavailable`.

    A part in each transaction: what is done is done, and a death in between leaves the rest to the next owner. Where
    nothing is to be done that costs two look-ups in an index.
    """
    moved = 0
    for after, last_lane in order.strays():
        while wrong := [task for task in store.ready(after, AT_ONCE, BYTES_AT_ONCE) if task.lane <= last_lane]:
            with store.transaction() as transaction:
                transaction.apply(Change(updates=[place(task, *_place(task, order)) for task in wrong]))
            moved += len(wrong)
    if moved:
        log.info("%d waiting tasks were put into the order of the new aging", moved)
    return moved


def reorder(store: QueueStore, crew: Crew, leases: Leases, window: Window, order: Order) -> None:
    """Do so with all that an owner has: what waits, what workers and consumers have and may come back, what is in memory."""
    put_in_order(store, order)
    for slot in crew.busy():
        for flight in slot.batch.flights.values() if slot.batch is not None else ():
            lane, rank = _place(flight.task, order)
            flight.task = flight.task._replace(lane=lane, rank=rank)
    for lease in leases:
        lane, rank = _place(lease.task, order)
        lease.task = lease.task._replace(lane=lane, rank=rank)
    window.forget_all()


def _place(task: ReadyTask, order: Order) -> tuple[int, int]:
    return replaced(task.lane, task.rank, task.priority, order)

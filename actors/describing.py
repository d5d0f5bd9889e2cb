"""A queue described by its owner, for lists, pages and `callboard tree`."""

import psutil

from callboard.actors.crew import Moment, Slot, SlotState
from callboard.actors.hiring import Hiring
from callboard.actors.messages import QueueStatus, WorkerStatus
from callboard.actors.queue_owner import QueueOwner


def describe(owner: QueueOwner, hiring: Hiring, now: Moment, pid: int) -> QueueStatus:
    """Say how the queue is. Raises `StoreUnavailable` only when even its counts can't be read."""
    why = owner.trouble or hiring.trouble
    state = "degraded" if why else "paused" if owner.paused else "draining" if owner.draining else "running"
    oldest = owner.store.oldest_ready()
    busy = owner.rates.per_second("busy", now.mono)
    busy += sum((now.mono - slot.busy_since) * max(slot.in_flight, 1) for slot in owner.crew.busy()) / 60
    concurrency = owner.settings.concurrency
    return QueueStatus(
        name=owner.queue,
        pid=pid,
        incarnation=owner.incarnation,
        state=state,
        why=why,
        counts=owner.store.counts(),
        settings=owner.settings,
        workers=tuple(_worker(slot, now) for slot in owner.crew.slots.values()),
        submitted_rate=owner.rates.per_second("submitted", now.mono),
        completed_rate=owner.rates.per_second("completed", now.mono),
        failed_rate=owner.rates.per_second("failed", now.mono),
        oldest_age_ms=None if oldest is None else max(now.wall - oldest, 0) // 1_000,
        running=owner.crew.running(),
        leased=len(owner.leases),
        utilisation=min(busy / concurrency, 1.0) if concurrency else 0.0,
    )


def _worker(slot: Slot, now: Moment) -> WorkerStatus:
    running = slot.batch.running() if slot.batch is not None else None
    age = None
    if running is not None and running[1].begun_at is not None:
        age = max(now.wall - running[1].begun_at, 0) // 1_000
    return WorkerStatus(
        name=slot.name,
        pid=slot.pid,
        state="stopping" if slot.state is SlotState.DYING else str(slot.state),
        task=None if running is None else running[1].task.id,
        task_age_ms=age,
        memory=_memory(slot.pid),
        tasks_done=slot.tasks_done,
        running=sum(flight.begun_at is not None for flight in slot.batch.flights.values()) if slot.batch else 0,
        launched=None if running is None else running[1].launched,
    )


def _memory(pid: int) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None

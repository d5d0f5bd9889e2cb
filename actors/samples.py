"""The workers that ship: Sleep, SendEmail, GenerateReport, and CPUProcess, which fails on purpose.

They are examples to read as well: each says what its tasks' contexts must be by a model.
"""

import hashlib
import time
from typing import Final

from callboard.actors.handlers import Ok, TaskContext, Worker
from callboard.actors.sample_contexts import CpuContext, EmailContext, ReportContext

SLEEP_MS: Final = 5_000
CPU_ROUNDS: Final = 100_000
"""Some 50 ms of work."""


class Sleep(Worker):
    """Sleeps `timeout` milliseconds, 5000 if the context has none."""

    def perform(self, task: TaskContext) -> None:
        """Sleep. Raises ValueError for a timeout that is no number of milliseconds."""
        milliseconds = task.context.get("timeout", SLEEP_MS)
        if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float) or milliseconds < 0:
            raise ValueError(f"timeout must be a number of milliseconds from 0 on, not {milliseconds!r}")
        time.sleep(milliseconds / 1_000)


class SendEmail(Worker):
    """Sends a mail: `sendTo` (an address or a list), `sendFrom`, `subject`, and `body` if there is one.

    It goes through the server of `[samples] smtp`, or into {data_dir}/outbox when none is set. The Message-ID is made
    from the task's id: a mail that is sent again, because its worker died before it could say so, can be recognised.
    """

    Context = EmailContext

    def perform(self, task: TaskContext) -> Ok:
        """Send or write the mail; the result says where it went, and who was refused by the mail server."""
        # Imported in every worker, the mail modules would make up half of the time that its start takes.
        from callboard.actors.mailing import deliver  # noqa: PLC0415

        return Ok(deliver(task.payload, task.id, task.data_dir / "outbox", task.settings.get("smtp", "")))


class GenerateReport(Worker):
    """Writes a CSV and an HTML report of a queue's history to {data_dir}/reports.

    `reportType` is `{"queue": name}`, or a queue's name, or any other title for a report of the task's own queue.
    `limit`: the newest so many tasks, 100,000 if the context has none.
    """

    Context = ReportContext

    def perform(self, task: TaskContext) -> Ok:
        """Write both files; the result says where they are and how many tasks they list."""
        report: ReportContext = task.payload
        request = {
            "store_url": task.store_url,
            "folder": str(task.data_dir / "reports"),
            "name": task.id,
            "report_type": report.reportType,
            "own_queue": task.queue,
            "limit": report.limit,
        }
        # SQLAlchemy's import would cost every sleeping worker its time and memory.
        from callboard.actors.reporting import run_report  # noqa: PLC0415

        return Ok(run_report(request))


class CPUProcess(Worker):
    """Computes for a moment and then fails, always: to see retries, backoff and the dead letter at work."""

    Context = CpuContext

    def perform(self, task: TaskContext) -> None:
        """Raise RuntimeError after some 50 ms on the processor."""
        digest = hashlib.pbkdf2_hmac("sha256", task.id.encode(), b"callboard", CPU_ROUNDS).hex()
        wish = task.payload.ProcessType
        raise RuntimeError(f"CPUProcess fails on purpose (ProcessType {wish!r}, computed {digest[:8]})")


class Event(Worker):
    """Takes note of an event of `POST /api/event/v1`: what a handler of one's own begins with."""

    def perform(self, task: TaskContext) -> Ok:
        """Log the event; the result says whose it was."""
        user_id = task.context.get("user_id")
        task.log.info("event of type %s of user %s", task.context.get("event_type_id"), user_id)
        return Ok({"user_id": user_id})

"""The workers that ship: Sleep, SendEmail, GenerateReport, and CPUProcess, which fails on purpose.

They are examples to read as well: each says what its tasks' contexts must be by a model.
"""

import email.policy
import hashlib
import smtplib
import time
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final

from callboard.actors.handlers import Ok, TaskContext, Worker
from callboard.actors.private_files import private_file
from callboard.actors.sample_contexts import CpuContext, EmailContext, ReportContext

SLEEP_MS: Final = 5_000
SMTP_SECONDS: Final = 10.0
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
        message = _mail(task)
        server = task.settings.get("smtp", "")
        if server:
            return Ok({"smtp": server, "refused": _send(message, server)})
        path = task.data_dir / "outbox" / f"{task.id}.eml"
        with private_file(path) as file:
            file.write_bytes(message.as_bytes(policy=email.policy.SMTP))
        return Ok({"file": str(path)})


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


def _mail(task: TaskContext) -> EmailMessage:
    wanted: EmailContext = task.payload
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = wanted.sendFrom, ", ".join(wanted.sendTo), wanted.subject
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{task.id}@callboard>"
    message.set_content(wanted.body)
    return message


def _send(message: EmailMessage, server: str) -> dict[str, str]:
    """Send through `host:port` and return why, for each receiver that the server would not take.

    Raises what smtplib raises when it takes none, or when there is no server: the attempt fails and is retried.
    """
    host, _, port = server.rpartition(":")
    with smtplib.SMTP(host.strip("[]"), int(port), timeout=SMTP_SECONDS) as connection:
        refused = connection.send_message(message)
    return {address: f"{code} {reason.decode(errors='replace')}" for address, (code, reason) in refused.items()}

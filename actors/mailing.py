"""Sends the mails of the SendEmail worker, through a mail server or into files."""

import email.policy
import smtplib
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

from callboard.actors.private_files import private_file
from callboard.actors.sample_contexts import EmailContext

SMTP_SECONDS: Final = 10.0


def deliver(wanted: EmailContext, task_id: str, outbox: Path, server: str) -> dict[str, Any]:
    """Send the mail through `server` (`host:port`), or write it into `outbox` where that is empty.

    Returns the task's result: where it went, and who was refused by the mail server. Raises what smtplib raises when
    the server takes no receiver, or when there is none: the attempt fails and is retried.
    """
    message = _mail(wanted, task_id)
    if server:
        return {"smtp": server, "refused": _send(message, server)}
    path = outbox / f"{task_id}.eml"
    with private_file(path) as file:
        file.write_bytes(message.as_bytes(policy=email.policy.SMTP))
    return {"file": str(path)}


def _mail(wanted: EmailContext, task_id: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = wanted.sendFrom, ", ".join(wanted.sendTo), wanted.subject
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{task_id}@callboard>"
    message.set_content(wanted.body)
    return message


def _send(message: EmailMessage, server: str) -> dict[str, str]:
    """Send through `host:port` and return why, for each receiver that the server would not take."""
    host, _, port = server.rpartition(":")
    with smtplib.SMTP(host.strip("[]"), int(port), timeout=SMTP_SECONDS) as connection:
        refused = connection.send_message(message)
    return {address: f"{code} {reason.decode(errors='replace')}" for address, (code, reason) in refused.items()}

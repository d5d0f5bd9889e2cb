import asyncio
import csv
import email
import email.policy
import json
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from callboard.actors import history, samples
from callboard.actors.handler_loading import load_handler
from callboard.actors.handlers import Ok, TaskContext
from callboard.actors.payloads import InvalidContext
from callboard.actors.private_files import private_file
from callboard.actors.runners.call import CallRunner
from callboard.actors.store import Change, Completion, Insert, TaskUpdate
from callboard.actors.store.opening import open_store
from callboard.actors.task import AttemptError, ErrorKind, NewTask

MAIL = {"sendTo": ["a@test.com", "b@test.com"], "sendFrom": "c@test.com", "subject": "Hi ☃!", "body": "hope you are wéll"}
NOW = 1_800_000_000_000_000
RUN = {name: load_handler(f"callboard.actors.samples:{name}") for name in ("SendEmail", "GenerateReport", "CPUProcess")}
"""As a worker runs them: with their contexts checked."""


def task(tmp_path: Path, type_: str, context: dict[str, Any], queue: str = "default", smtp: str = "") -> TaskContext:
    """Make the first attempt at a task of a server whose data are in this folder."""
    url = f"sqlite:///{tmp_path}/callboard.db"
    return TaskContext(
        "019a-task", queue, type_, context, 1, 3, time.time() + 60, tmp_path, url, {"smtp": smtp}
    )  # fmt: skip


# ---------------------------------------------------------------- Sleep


@pytest.mark.parametrize(
    ("context", "seconds"),
    [
        ({}, 5.0),  # the default
        ({"timeout": 0}, 0.0),
        ({"timeout": 250}, 0.25),
        ({"timeout": 1.5}, 0.0015),
    ],
)
def test_jqs_24_sleep_takes_the_contexts_timeout_or_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: dict[str, Any], seconds: float
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    samples.Sleep().perform(task(tmp_path, "Sleep", context))
    assert slept == [seconds]


def test_jqs_24_sleep_really_sleeps(tmp_path: Path) -> None:
    started = time.monotonic()
    samples.Sleep().perform(task(tmp_path, "Sleep", {"timeout": 50}))
    assert time.monotonic() - started >= 0.05


@pytest.mark.parametrize("timeout", [-1, "5", None, True, [5]])
def test_sleep_refuses_what_is_no_number_of_milliseconds(tmp_path: Path, timeout: object) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of milliseconds from 0 on"):
        samples.Sleep().perform(task(tmp_path, "Sleep", {"timeout": timeout}))


# ---------------------------------------------------------------- SendEmail


class Letterbox:
    """Keeps what a mail server was given; refuses receivers of other.com."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(  # noqa: N802 - the server's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.endswith("@other.com"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 OK"


class MailServer(Controller):
    """A mail server on a free port, which the system chooses."""

    def _trigger_server(self) -> None:
        # It would connect to the port that it was given, which is 0: any free one.
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@pytest.fixture
def letterbox() -> Letterbox:
    """What the mail server has received."""
    return Letterbox()


@pytest.fixture
def smtp(letterbox: Letterbox) -> Iterator[str]:
    """The address of a real mail server."""
    server = MailServer(letterbox, hostname="127.0.0.1", port=0)
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.stop()


def read(mail: bytes) -> EmailMessage:
    """Parse a mail as a mail program would."""
    return email.message_from_bytes(mail, policy=email.policy.default)


def test_async_06_a_mail_is_really_sent(tmp_path: Path, smtp: str, letterbox: Letterbox) -> None:
    sent = RUN["SendEmail"](task(tmp_path, "SendEmail", MAIL, smtp=smtp))
    assert sent == Ok({"smtp": smtp, "refused": {}})
    [envelope] = letterbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("c@test.com", ["a@test.com", "b@test.com"])
    mail = read(cast("bytes", envelope.content))
    assert (mail["Subject"], mail["To"], mail["Message-ID"]) == ("Hi ☃!", "a@test.com, b@test.com", "<019a-task@callboard>")
    assert mail.get_content().strip() == "hope you are wéll"
    assert not (tmp_path / "outbox").exists()


def test_a_receiver_that_the_server_refuses_is_named_in_the_result(tmp_path: Path, smtp: str, letterbox: Letterbox) -> None:
    context = MAIL | {"sendTo": ["a@test.com", "x@other.com"]}
    sent = RUN["SendEmail"](task(tmp_path, "SendEmail", context, smtp=smtp))
    assert sent.result["refused"] == {"x@other.com": "550 no such user"}
    assert letterbox.envelopes[0].rcpt_tos == ["a@test.com"]


def test_a_mail_that_nobody_takes_fails(tmp_path: Path, smtp: str) -> None:
    outcome = CallRunner(RUN["SendEmail"], strict=True).run(
        task(tmp_path, "SendEmail", MAIL | {"sendTo": "x@other.com"}, smtp=smtp)
    )
    assert not outcome.completed
    assert b"SMTPRecipientsRefused" in outcome.payload


def test_a_mail_server_that_is_not_there_fails_the_attempt(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound but not listening: nobody answers there, and nobody else can take it
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConnectionRefusedError):
            RUN["SendEmail"](task(tmp_path, "SendEmail", MAIL, smtp=address))


def test_without_a_mail_server_the_mail_is_a_private_file(tmp_path: Path) -> None:
    sent = RUN["SendEmail"](task(tmp_path, "SendEmail", MAIL | {"sendTo": "a@test.com"}))
    file = Path(sent.result["file"])
    assert file == tmp_path / "outbox" / "019a-task.eml"
    assert (stat.S_IMODE(file.parent.stat().st_mode), stat.S_IMODE(file.stat().st_mode)) == (0o700, 0o600)
    assert read(file.read_bytes())["Subject"] == "Hi ☃!"


def test_a_mail_that_is_sent_again_leaves_one_file(tmp_path: Path) -> None:
    # The first attempt was killed while it wrote: its part of a file is no mail, and not in the way.
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / ".019a-task.eml.part").write_text("half a ma")
    for _ in range(2):
        RUN["SendEmail"](task(tmp_path, "SendEmail", MAIL))
    assert [path.name for path in (tmp_path / "outbox").iterdir()] == ["019a-task.eml"]


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({}, "SendEmail: sendTo can't be blank; sendFrom can't be blank; subject can't be blank"),
        (MAIL | {"sendTo": []}, "SendEmail: sendTo can't be blank"),
        (MAIL | {"subject": None}, "SendEmail: subject can't be blank"),
        (MAIL | {"subject": 5, "body": []}, "SendEmail: subject must be a text; body must be a text"),
        (MAIL | {"sendTo": ["a@test.com", 5]}, "SendEmail: sendTo must be an address or a list of them"),
        (MAIL | {"sendTo": "nobody"}, "SendEmail: sendTo must be an address or a list of them"),
        (MAIL | {"subject": "a\nBcc: x@y.z"}, "linefeed"),  # would add a header
    ],
)
def test_a_mail_that_cannot_be_made_says_what_is_wrong_and_leaves_nothing(
    tmp_path: Path, context: dict[str, Any], said: str
) -> None:
    with pytest.raises((ValueError, InvalidContext), match=said):
        RUN["SendEmail"](task(tmp_path, "SendEmail", context))
    assert not (tmp_path / "outbox").exists()


def test_a_file_that_could_not_be_written_to_its_end_is_not_there(tmp_path: Path) -> None:
    def write() -> None:
        with private_file(tmp_path / "outbox" / "x.eml") as unfinished:
            unfinished.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert list((tmp_path / "outbox").iterdir()) == []


# ---------------------------------------------------------------- GenerateReport


def new_task(index: int) -> NewTask:
    """Make a task; the higher the index, the newer it is."""
    return NewTask(f"019a-{index:08}", "a:b", "{}", 1, 3, "{}", 60_000, 0, NOW + index, "test", "{}")


@pytest.fixture
def queue_with_history(tmp_path: Path) -> str:
    """Store a queue of one completed task of 250 ms, one dead one with a hostile error, and 1,500 waiting ones."""
    with closing(open_store(f"sqlite:///{tmp_path}/callboard.db")) as store:
        store.put_queue("work", "{}", "", NOW)
        store.put_queue("default", "{}", "", NOW)
        owned, _ = store.own("work")
        error = AttemptError(1, NOW, ErrorKind.ERROR, "=HYPERLINK(<b>)", charged=True)
        with closing(owned), owned.transaction() as transaction:
            waiting = [Insert(new_task(index), "available", -1, index) for index in range(1_502)]
            transaction.apply(Change(inserts=waiting))
            done = Completion(new_task(1_500).id, "available", 1, NOW, NOW + 250_000, "null", 1)
            dead = TaskUpdate(
                new_task(1_501).id, "available", "dead", -1, 1_501, 1, None, 1, 1, 0, NOW, NOW + 750_000, None, 2,
                error=json.dumps(error.to_json()),
            )  # fmt: skip
            transaction.apply(Change(completions=[done], updates=[dead]))
    return "work"


def rows(path: str) -> list[dict[str, str]]:
    """Read a table as a spreadsheet would."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("wanted", ["work", {"queue": "work"}])
def test_async_06_a_report_lists_a_queues_history(tmp_path: Path, queue_with_history: str, wanted: object) -> None:
    done = RUN["GenerateReport"](task(tmp_path, "GenerateReport", {"reportType": wanted}))
    assert (done.result["queue"], done.result["rows"]) == ("work", 1_502)
    listed = rows(done.result["csv"])
    assert [row["id"] for row in listed] == [new_task(index).id for index in reversed(range(1_502))]
    assert (listed[1]["state"], listed[1]["run_ms"], listed[1]["priority"]) == ("completed", "250", "high")
    assert (listed[2]["state"], listed[2]["run_ms"]) == ("available", "")
    page = Path(done.result["html"]).read_text()
    assert "<h1>Queue work</h1>" in page
    assert "1502 tasks (1500 available, 1 completed, 1 dead)" in page
    assert "2 tasks have ended after a run: 500ms on average, 750ms at most" in page
    assert "The newest 1000 are listed" in page


def test_an_error_can_neither_run_in_a_spreadsheet_nor_in_a_browser(tmp_path: Path, queue_with_history: str) -> None:
    done = RUN["GenerateReport"](task(tmp_path, "GenerateReport", {"reportType": "work"}))
    assert rows(done.result["csv"])[0]["error"] == "'=HYPERLINK(<b>)"
    assert "=HYPERLINK(&lt;b&gt;)" in Path(done.result["html"]).read_text()


def test_a_report_of_another_title_is_about_the_tasks_own_queue(tmp_path: Path, queue_with_history: str) -> None:
    done = RUN["GenerateReport"](task(tmp_path, "GenerateReport", {"reportType": "Financial <Report>"}))
    assert (done.result["queue"], done.result["rows"]) == ("default", 0)
    page = Path(done.result["html"]).read_text()
    assert "<h1>Financial &lt;Report&gt;</h1>" in page
    assert "0 tasks (none)" in page


def test_a_reports_files_are_private_and_named_for_queue_and_task(tmp_path: Path, queue_with_history: str) -> None:
    attempt = task(tmp_path, "GenerateReport", {"reportType": "work", "limit": 3})
    RUN["GenerateReport"](attempt)
    done = RUN["GenerateReport"](attempt)  # replaces what the first has written
    assert done.result["rows"] == len(rows(done.result["csv"])) == 3
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "reports").iterdir()}
    assert files == {"work-019a-task.csv": 0o600, "work-019a-task.html": 0o600}
    assert stat.S_IMODE((tmp_path / "reports").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({}, "GenerateReport: reportType can't be blank"),
        ({"reportType": ""}, "GenerateReport: reportType can't be blank"),
        ({"reportType": {"queue": "wrok"}}, "unknown queue 'wrok', known are default, work"),
        ({"reportType": {"queue": []}}, r"unknown queue \[\]"),
        ({"reportType": {"q": 1}}, 'reportType must be a text or {"queue": name}'),
        ({"reportType": 5}, 'reportType must be a text or {"queue": name}'),
        ({"reportType": "work", "limit": 0}, "limit must be greater than or equal to 1"),
        ({"reportType": "work", "limit": True}, "limit must be an integer"),
    ],
)
def test_a_report_that_cannot_be_made_says_why_and_leaves_nothing(
    tmp_path: Path, queue_with_history: str, context: dict[str, Any], said: str
) -> None:
    with pytest.raises((ValueError, InvalidContext), match=said):
        RUN["GenerateReport"](task(tmp_path, "GenerateReport", context))
    assert not (tmp_path / "reports").exists()


# ---------------------------------------------------------------- CPUProcess


def test_async_06_cpu_process_fails_on_purpose_and_says_so(tmp_path: Path) -> None:
    used = time.process_time()
    with pytest.raises(RuntimeError, match=r"fails on purpose \(ProcessType 'want to fail'"):
        RUN["CPUProcess"](task(tmp_path, "CPUProcess", {"ProcessType": "want to fail"}))
    assert time.process_time() - used > 0.001


@pytest.mark.parametrize("strict", [False, True])
def test_the_samples_results_are_accepted_in_strict_queues_too(
    tmp_path: Path, queue_with_history: str, strict: bool
) -> None:
    runs: list[tuple[Callable[[TaskContext], Any], TaskContext]] = [
        (samples.Sleep().perform, task(tmp_path, "Sleep", {"timeout": 1})),
        (RUN["SendEmail"], task(tmp_path, "SendEmail", MAIL)),
        (RUN["GenerateReport"], task(tmp_path, "GenerateReport", {"reportType": "work"})),
    ]
    assert [CallRunner(run, strict=strict).run(ctx).completed for run, ctx in runs] == [True] * 3


def test_a_number_in_a_table_is_left_a_number() -> None:
    assert history._is_number("-5")
    assert not history._is_number("-5+cmd")

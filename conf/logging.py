"""Write log records to standard error: one line each, for people or as JSON, whichever library they come from."""

import logging
import re
import sys
import traceback
from pathlib import Path
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FRAMES: Final = 12
"""So many calls are named on the console, the innermost first."""


def configure_logging(level: str, format: str) -> None:  # noqa: A002 - the option's name
    """Send all records of this process from `level` on to standard error; replaces what was configured before.

    `format` is `console` or `json`. Each process of the system calls this once, when it knows its settings.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
            processors=[
                _origin,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                *(_JSON if format == "json" else _console()),
            ],
        )
    )
    least = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=least, handlers=[handler], force=True)
    # What they say at INFO is of use to nobody who runs Callboard.
    for name in ("alembic", "uvicorn", "httpx2"):
        logging.getLogger(name).setLevel(max(logging.WARNING, least))
    # A task's code may log through structlog directly: as it is shipped, that prints to standard output.
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _origin(_logger: Any, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    event.pop("color_message", None)  # uvicorn's second copy of the text
    event.update(logger=record.name, pid=record.process)
    return event


_JSON: Final[tuple[Processor, ...]] = (
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(),
)


def _console() -> tuple[Processor, ...]:
    return (_short_exception, _no_control, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0))


def _short_exception(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Replace an exception by its chain and where it came from: all of it would take many lines. JSON has it whole."""
    event.pop("stack_info", None)
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    if not given or error is None:
        return event
    frames = reversed(traceback.extract_tb(error.__traceback__)[-_FRAMES:])
    event["at"] = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    chain = [f"{type(error).__name__}: {error}"]
    while error := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        chain.append(f"{type(error).__name__}: {error}")
    event["error"] = ", after ".join(chain)
    return event


def _no_control(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Escape what would begin a new line or move the cursor: a task's text must not be able to forge a record."""
    return {key: _CONTROL.sub(_escaped, value) if isinstance(value, str) else value for key, value in event.items()}


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()

"""Build a request's tasks with their queue's defaults; what many of them have in common is worked out once."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from callboard.actors.errors import InvalidOption
from callboard.actors.messages import QueueFound
from callboard.actors.submitting import context_text, resolve_type
from callboard.actors.task import NewTask
from callboard.actors.task_form import DatedForm, TaskForm
from callboard.http.problems import Errors
from callboard.http.schemas import NO_OPTIONS, TaskOptions, TaskRequest, microseconds_now

CREATED_BY: Final = "http"
MAX_FORMS: Final = 1_000
"""So many are remembered; a form takes about 2 kB."""


class Wrong(Exception):
    """Some of the tasks can't be built: validation errors by position."""

    def __init__(self, errors: dict[int, Errors]) -> None:
        super().__init__()
        self.errors = errors


class WrongQueue(Wrong):
    """They can't be built, for their queue is not there (any more)."""


class Part(NamedTuple):
    """A request's tasks for one queue, built with the settings in `found`; `forms` has the form of each."""

    found: QueueFound
    wanted: Sequence[TaskRequest]
    tasks: tuple[NewTask, ...]
    forms: Sequence[DatedForm]

    def texts(self) -> list[str]:
        """Write the tasks as JSON in ASCII, as they are shown when they have just been accepted."""
        return [form.text(task.id, task.context) for form, task in zip(self.forms, self.tasks, strict=True)]


class Forms:
    """The forms of the tasks that were built lately, from one request to the next."""

    def __init__(self) -> None:
        self._forms: dict[tuple[Any, ...], TaskForm] = {}

    def form_of(self, found: QueueFound, type_: str | None, options: TaskOptions) -> TaskForm:
        """Return the form of tasks with this type and these options. Raises `InvalidOption`."""
        settings = found.settings
        # The form holds on to its settings, so no others can have the same id while it is remembered.
        key = (
            id(settings),
            found.queue,
            type_,
            options.priority,
            options.max_retries,
            options.max_attempts,
            options.backoff_ms,
            options.backoff,
            options.timeout_ms,
        )
        form = self._forms.get(key)
        if form is None:
            own = settings.of_type(resolve_type(settings, type_, found.queue))
            form = TaskForm(
                found.queue,
                settings,
                type=type_,
                priority=options.priority,
                max_retries=options.retries(),
                backoff=options.backoff_over(own.backoff.to_backoff()),
                timeout_ms=options.timeout_ms,
                created_by=CREATED_BY,
            )
            if len(self._forms) >= MAX_FORMS:
                self._forms.clear()
            self._forms[key] = form
        return form

    def build(self, found: QueueFound, wanted: Sequence[TaskRequest]) -> Part:
        """Give each task what its queue's settings say of it. Raises `Wrong`."""
        dated = _Dated(self, found)
        tasks: list[NewTask] = []
        forms: list[DatedForm] = []
        wrong: dict[int, Errors] = {}
        for position, task in enumerate(wanted):
            try:
                context = received_context_text(task.context)
                form = dated.form_of(task)
            except InvalidOption as error:
                at_top = error.field in {"type", "context"}
                problem: Errors = {error.field: [str(error)]}
                wrong[position] = problem if at_top else {"options": problem}
            else:
                tasks.append(form.task(context))
                forms.append(form)
        if wrong:
            raise Wrong(wrong)
        return Part(found, wanted, tuple(tasks), forms)


class _Dated:
    """The forms of one queue's tasks that are made in this moment."""

    def __init__(self, forms: Forms, found: QueueFound) -> None:
        self._forms = forms
        self._found = found
        self._now = microseconds_now()
        self._dated: dict[str | tuple[TaskForm, int] | None, DatedForm] = {}
        """By type where there are no options, else by form and due time."""

    def form_of(self, task: TaskRequest) -> DatedForm:
        options = task.options
        if options is None:
            dated = self._dated.get(task.type)
            return dated or self._date(task.type, self._forms.form_of(self._found, task.type, NO_OPTIONS), 0)
        form, run_at = self._forms.form_of(self._found, task.type, options), options.due(self._now)
        return self._dated.get((form, run_at)) or self._date((form, run_at), form, run_at)

    def _date(self, key: str | tuple[TaskForm, int] | None, form: TaskForm, run_at: int) -> DatedForm:
        self._dated[key] = dated = form.dated(self._now, run_at)
        return dated


def received_context_text(context: dict[str, Any]) -> str:
    """Do the same as `context_text`, in a third of the time, for a context that was read from JSON."""
    try:
        text = to_json(context, ensure_ascii=True, inf_nan_mode="constants").decode("ascii")
    except ValueError:  # a lone surrogate, or deeper than it goes
        return context_text(context)
    # It does not refuse an infinity, which a number as large as 1e999 is read as.
    return context_text(context) if "Infinity" in text else text

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from callboard.actors.options import Backoff, BackoffStrategy
from callboard.conf.explain import explain
from callboard.conf.settings import BackoffSettings, QueueSettings, Settings, check_queue_name
from callboard.conf.templates import QueueTemplate
from callboard.conf.values import format_size, parse_size

FULL: dict[str, Any] = {
    "worker": "shop.tasks:Resize.Small",
    "types": {"SendEmail": "callboard.actors.samples:SendEmail"},
    "concurrency": 0,
    "strict": True,
    "max_memory": "256 MiB",
    "priority": "high",
    "max_retries": 0,
    "timeout": "1m30s",
    "poll_interval": "250ms",
    "max_length": 10,
    "backoff": {"strategy": "exponential", "base": "2s", "factor": 3, "cap": "1h", "jitter": 0.5},
    "retention": {"completed": "1d", "dead": "30d", "cancelled": "forever"},
    "start_timeout": "5s",
}


def reasons(value: dict[str, Any], model: type[QueueSettings | Settings] = QueueSettings) -> dict[str, str]:
    """Return what is said about each option of a refused value."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(value)
    return {".".join(map(str, error["loc"])): error["msg"] for error in refused.value.errors()}


def test_a_queue_without_options_has_the_defaults_of_the_contract() -> None:
    assert QueueSettings().model_dump(mode="json") == {
        "worker": "",
        "types": {},
        "command": [],
        "concurrency": 3,
        "slots": 1,
        "strict": False,
        "max_memory": "",
        "priority": "low",
        "max_retries": 3,
        "timeout": "1m",
        "delivery": "at_least_once",
        "poll_interval": "1s",
        "aging": "off",
        "max_length": 0,
        "backoff": {"preset": "", "strategy": "fixed", "base": "1s", "factor": 2.0, "cap": "1h", "jitter": 0.0},
        "retention": {"completed": "7d", "dead": "forever", "cancelled": "7d"},
        "start_timeout": "30s",
        "learned": {},
        "idle_after": "5m",
    }


@pytest.mark.parametrize("mode", ["json", "python"])
@pytest.mark.parametrize("value", [{}, FULL])
def test_settings_of_a_queue_can_be_stored_and_loaded(value: dict[str, Any], mode: str) -> None:
    settings = QueueSettings.model_validate(value)
    assert QueueSettings.model_validate(settings.model_dump(mode=mode)) == settings
    assert QueueSettings.model_validate_json(settings.model_dump_json()) == settings
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_in_python_durations_are_milliseconds_and_sizes_bytes() -> None:
    settings = QueueSettings.model_validate(FULL)
    assert (settings.timeout, settings.timeout_ms, settings.poll_interval_ms) == (90_000, 90_000, 250)
    assert (settings.start_timeout_ms, settings.aging_ms, settings.max_memory) == (5_000, None, 256 * 2**20)
    assert (settings.retention.completed, settings.retention.cancelled) == (86_400_000, None)
    assert settings.priority == 1


def test_the_backoff_is_given_to_tasks_in_their_own_form() -> None:
    assert QueueSettings.model_validate(FULL).backoff.to_backoff() == Backoff(
        BackoffStrategy.EXPONENTIAL, base_ms=2_000, factor=3.0, cap_ms=3_600_000, jitter=0.5
    )
    assert BackoffSettings().to_backoff() == Backoff()


def test_the_default_type_of_a_queue_is_named_for_its_worker() -> None:
    assert QueueSettings.model_validate(FULL).handlers == {
        "shop.tasks:Resize.Small": "shop.tasks:Resize.Small",
        "SendEmail": "callboard.actors.samples:SendEmail",
    }
    assert QueueSettings().handlers == {}


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        QueueSettings().concurrency = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        ({"concurrency": "3"}, "concurrency", "valid integer"),  # a number as text
        ({"concurrency": True}, "concurrency", "valid integer"),  # Python's bool is an int
        ({"concurrency": 3.0}, "concurrency", "valid integer"),
        ({"concurrency": -1}, "concurrency", "greater than or equal to 0"),
        ({"concurrency": 10_001}, "concurrency", "less than or equal to 10000"),
        ({"max_retries": 100}, "max_retries", "less than or equal to 99"),
        ({"strict": 1}, "strict", "valid boolean"),
        ({"timeout": "0s"}, "timeout", "greater than 0"),  # no attempt could end in time
        ({"timeout": 60}, "timeout", "60 is not a duration: write for example 250ms"),  # 60 of what?
        ({"timeout": "soon"}, "timeout", "'soon' is not a duration"),
        ({"poll_interval": "0s"}, "poll_interval", "greater than 0"),  # would never rest
        ({"aging": 10}, "aging", '10 is not "off" or a duration'),
        ({"retention": {"dead": "never"}}, "retention.dead", "'never' is not a duration"),
        ({"retention": {"dead": None}}, "retention.dead", 'None is not "forever" or a duration'),
        ({"max_memory": "256"}, "max_memory", "'256' is not a size: write for example 512 KiB"),
        ({"max_memory": 256}, "max_memory", "256 is not a size"),
        ({"max_memory": "0 B"}, "max_memory", "greater than 0"),
        ({"priority": "urgent"}, "priority", 'must be "low", "high" or an integer'),
        ({"priority": []}, "priority", 'must be "low", "high" or an integer'),
        ({"backoff": {"base": "-1s"}}, "backoff.base", "'-1s' is not a duration"),
        ({"backoff": {"factor": 0.5}}, "backoff.factor", "greater than or equal to 1"),  # would shrink
        ({"backoff": {"factor": float("inf")}}, "backoff.factor", "finite"),
        ({"backoff": {"factor": 1e9}}, "backoff.factor", "less than or equal to 100"),  # would overflow
        ({"backoff": {"jitter": 1.1}}, "backoff.jitter", "less than or equal to 1"),
        (
            {"backoff": {"strategy": "fibonacci"}},
            "backoff.strategy",
            "'exponential' or 'polynomial'",
        ),
        ({"worker": "shop.tasks"}, "worker", "write module:attribute"),
        ({"worker": "os; rm:x"}, "worker", "write module:attribute"),
        ({"types": {"A": ""}}, "types.A", "write module:attribute"),
        ({"types": {"": "a:b"}}, "types..[key]", "at least 1 character"),
        ({"max_length": -1}, "max_length", "greater than or equal to 0"),
        ({"concurency": 3}, "concurency", "not permitted"),
    ],
)
def test_a_bad_option_of_a_queue_is_refused(value: dict[str, Any], place: str, reason: str) -> None:
    found = reasons(value)
    assert list(found) == [place]
    assert reason in found[place]


def test_the_defaults_are_settings_as_any_others() -> None:
    assert QueueSettings.model_validate(QueueSettings().model_dump()) == QueueSettings()


def test_the_schema_for_programs_shows_values_as_people_write_them() -> None:
    options = QueueSettings.model_json_schema()["properties"]
    assert options["timeout"] == {
        "default": "1m",
        "examples": ["250ms", "5s", "1m30s"],
        "title": "Timeout",
        "type": "string",
    }
    assert options["retention"]["default"] == {"completed": "7d", "dead": "forever", "cancelled": "7d"}


@pytest.mark.parametrize("name", ["sleep", "0", "event-5", "a.b_c-d", "x" * 63])
def test_a_queue_name_is_taken(name: str) -> None:
    assert check_queue_name(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",  # nothing
        "Sleep",  # an upper-case letter: two names could differ by it alone
        "-a",  # would look like a flag
        "a/b",  # would be two parts of a URL
        "a b",
        "é",
        "a\n",
        "x" * 64,
        "dead_letter",  # is always there
    ],
)
def test_a_queue_name_is_refused(name: str) -> None:
    assert check_queue_name(name) is not None
    assert reasons({"queues": {name: {}}}, Settings) == {f"queues.{name}.[key]": check_queue_name(name)}


@given(st.integers(min_value=1, max_value=2**50))
def test_a_size_that_was_written_is_read_back_the_same(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_a_size_is_written_in_the_largest_unit_that_keeps_it_exact() -> None:
    assert [format_size(size) for size in (1, 1000, 1024, 1536, 2**20, 3 * 2**30)] == [
        "1 B",
        "1000 B",
        "1 KiB",
        "1536 B",
        "1 MiB",
        "3 GiB",
    ]


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        ({"http": {"port": 65_536}}, "http.port", "less than or equal to 65535"),
        ({"http": {"host": ""}}, "http.host", "at least 1 character"),
        ({"http": {"max_body": ""}}, "http.max_body", "is not a size"),  # a limit there must be
        ({"store": {"url": "mysql://x/y"}}, "store.url", "is not a store"),
        ({"store": {"url": "sqlite:///"}}, "store.url", "is not a store"),
        ({"store": {"url": "sqlite:///:memory:"}}, "store.url", "is not a store"),  # each process would have its own
        ({"store": {"url": "sqlite:///{datadir}/x.db"}}, "store.url", "only {data_dir} is filled in"),
        ({"store": {"url": "postgresql://u@h"}}, "store.url", "names no database"),
        ({"store": {"url": "postgresql+psycopg://u@h/d"}}, "store.url", "without the name of a driver"),
        ({"store": {"url": "postgresql://u@h/d?colour=red"}}, "store.url", "can't be read"),
        ({"templates": {"evnt": {}}}, "templates.evnt.[key]", "unknown template, known is event"),
        ({"templates": {"event": {"max_retries": -1}}}, "templates.event.max_retries", "greater than or equal to 0"),
        ({"samples": {"smtp": "localhost"}}, "samples.smtp", "is not host:port"),
        ({"samples": {"smtp": ":25"}}, "samples.smtp", "is not host:port"),
        ({"samples": {"smtp": "localhost:0"}}, "samples.smtp", "is not host:port"),
        ({"log": {"level": "loud"}}, "log.level", "'debug', 'info', 'warning' or 'error'"),
        ({"shutdown": {"grace": "-1s"}}, "shutdown.grace", "is not a duration"),
    ],
)
def test_a_bad_option_of_the_server_is_refused(value: dict[str, Any], place: str, reason: str) -> None:
    found = reasons(value, Settings)
    assert list(found) == [place]
    assert reason in found[place]


def test_the_whole_settings_can_be_sent_and_loaded() -> None:
    settings = Settings.model_validate({"queues": {"a": FULL}, "data_dir": "/srv/x", "http": {"token": "secret"}})
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
    assert Settings.model_validate(Settings().model_dump(mode="json")) == Settings()


def test_loading_stored_settings_does_not_read_the_environment_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_HTTP__PORT", "1")
    assert Settings.model_validate({}).http.port == 4000


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(Settings.model_validate({"http": {"token": "secret"}}))


def test_the_stores_url_is_the_same_from_any_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings().store_url == f"sqlite:///{tmp_path}/var/callboard.db"
    assert Settings(data_dir=Path("/srv/x")).store_url == "sqlite:////srv/x/callboard.db"


def test_the_grace_is_known_in_seconds_too() -> None:
    assert Settings.model_validate({"shutdown": {"grace": "1500ms"}}).shutdown.grace_seconds == 1.5


def test_attempts_are_another_spelling_of_retries() -> None:
    settings = QueueSettings.model_validate({"max_attempts": 5})
    assert (settings.max_retries, settings) == (4, QueueSettings(max_retries=4))
    assert "max_attempts" not in settings.model_dump(mode="json")
    assert QueueSettings.model_validate({"max_attempts": 5, "max_retries": 4}) == settings
    assert QueueTemplate.model_validate({"max_attempts": 3}).max_retries == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_attempts": 0}, "must be greater than or equal to 1"),
        ({"max_attempts": 101}, "must be less than or equal to 100"),
        ({"max_attempts": "5"}, "must be an integer"),
        ({"max_attempts": True}, "must be an integer"),
        ({"max_attempts": None}, "must be an integer"),
        ({"max_attempts": 5, "max_retries": 5}, "must be max_retries + 1 where both are given"),
        ({"max_attempts": 5, "max_retries": "4"}, "must be max_retries + 1 where both are given"),
        ({"max_atempts": 5}, "unknown option, did you mean max_attempts?"),
    ],
)
def test_attempts_that_can_not_be_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"queues": {"q": values}})
    (detail,) = refused.value.errors()
    assert detail["loc"] == ("queues", "q", *values.keys() - {"max_retries"})
    assert explain(Settings, detail) == said

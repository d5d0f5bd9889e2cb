import tomllib
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.errors import SettingsError
from callboard.conf.loading import DEFAULTS_FILE, load_settings
from callboard.conf.settings import Settings


def load(tmp_path: Path, text: str, environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None) -> Settings:
    """Load settings from a file with this text."""
    file = tmp_path / "callboard.toml"
    file.write_text(text)
    return load_settings(file, flags or {}, environ or {})


def lines(
    tmp_path: Path, text: str, environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None
) -> list[str]:
    """Return what is said about a file that is refused."""
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, text, environ, flags)
    return str(refused.value).splitlines()


def test_without_a_file_the_shipped_one_is_used() -> None:
    settings = load_settings(None, {}, {})
    assert list(settings.queues) == ["sleep", "default"]
    assert settings.queues["sleep"].worker == "callboard.actors.samples:Sleep"
    assert settings.queues["sleep"].concurrency == 5
    assert set(settings.queues["default"].types) == {"SendEmail", "GenerateReport", "CPUProcess"}


def test_the_shipped_file_states_every_option_with_its_default() -> None:
    written = tomllib.loads(DEFAULTS_FILE.read_text())
    queue = written["queues"].pop("sleep") | {"worker": "", "concurrency": 3, "priority": "low", "timeout": "1m"}
    del written["queues"], written["templates"]
    defaults = Settings().model_dump(mode="json", exclude={"data_dir", "queues", "templates"})
    assert written == defaults
    left_out = {"learned"}  # what the workers say is not written by people
    of_a_queue = load_settings(None, {}, {}).queues["default"].model_dump(mode="json", exclude=left_out) | {"types": {}}
    assert queue == of_a_queue


def test_the_shipped_template_states_the_defaults_of_one(tmp_path: Path) -> None:
    template = load_settings(None, {}, {}).templates["event"]
    assert template.model_copy(update={"worker": ""}) == load(tmp_path, "[templates.event]").templates["event"]
    assert (template.max_retries, template.backoff.strategy) == (5, "none")


def test_the_environment_reaches_into_a_template() -> None:
    settings = load_settings(None, {}, {"CALLBOARD_TEMPLATES__EVENT__CONCURRENCY": "7"})
    assert settings.templates["event"].concurrency == 7


def test_flags_override_the_environment_which_overrides_the_file_which_overrides_the_defaults(tmp_path: Path) -> None:
    text = 'http = { host = "127.0.0.2", port = 1, token = "file" }'
    environ = {"CALLBOARD_HTTP__PORT": "2", "CALLBOARD_HTTP__TOKEN": "environment"}
    http = load(tmp_path, text, environ, {"http": {"token": "flag", "port": None}}).http
    assert (http.max_body, http.host, http.port, http.token) == (2**20, "127.0.0.2", 2, "flag")


def test_the_data_directory_comes_from_flag_or_environment(tmp_path: Path) -> None:
    environ = {"CALLBOARD_DATA_DIR": "/from/environment"}
    assert load(tmp_path, "").data_dir == Path("var")
    assert load(tmp_path, "", environ).data_dir == Path("/from/environment")
    assert load(tmp_path, "", environ, {"data_dir": Path("/from/flag")}).data_dir == Path("/from/flag")
    assert lines(tmp_path, 'data_dir = "x"') == ["data_dir: can't be set in the file, use --data-dir or CALLBOARD_DATA_DIR"]


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("CONCURRENCY", "9", "concurrency", 9),  # an integer
        ("STRICT", "true", "strict", True),  # a truth value
        ("TIMEOUT", "1m30s", "timeout", 90_000),  # a duration
        ("MAX_MEMORY", "", "max_memory", None),  # an empty text is a value
        ("WORKER", "a:b", "worker", "a:b"),
        ("PRIORITY", "high", "priority", 1),
        ("PRIORITY", "-3", "priority", -3),
        ("TYPES", '{"X": "a:b"}', "types", {"Y": "c:d", "X": "a:b"}),  # JSON; tables are merged
    ],
)
def test_a_variable_sets_an_option_of_a_queue(tmp_path: Path, variable: str, text: str, option: str, value: object) -> None:
    file = '[queues.mine]\ntypes = { Y = "c:d" }\nmax_memory = "1 GiB"'
    queue = load(tmp_path, file, {f"CALLBOARD_QUEUES__MINE__{variable}": text}).queues["mine"]
    assert getattr(queue, option) == value


def test_a_variable_can_be_deeper_or_make_a_queue(tmp_path: Path) -> None:
    environ = {"CALLBOARD_QUEUES__NEW__BACKOFF__JITTER": "0.5", "CALLBOARD_QUEUES__NEW__RETENTION__DEAD": "3d"}
    queue = load(tmp_path, "", environ).queues["new"]
    assert (queue.backoff.jitter, queue.retention.dead) == (0.5, 3 * 86_400_000)


def test_a_token_that_looks_like_a_number_stays_a_text(tmp_path: Path) -> None:
    assert load(tmp_path, "", {"CALLBOARD_HTTP__TOKEN": "12345"}).http.token == "12345"


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    environ = {"HOME": "/", "CALLBOARDS": "z", "MY_CALLBOARD_PORT": "1"}
    assert load(tmp_path, "", environ) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CALLBOARD_HTP__PORT", "1", "unknown variable, did you mean CALLBOARD_HTTP__PORT?"),
        ("CALLBOARD_PORT", "1", "unknown variable, did you mean CALLBOARD_HTTP__PORT?"),
        ("CALLBOARD_TOKEN", "x", "unknown variable, did you mean CALLBOARD_HTTP__TOKEN?"),
        (
            "CALLBOARD_QUEUES__SLEEP__CONCURENCY",
            "1",
            "unknown variable, did you mean CALLBOARD_QUEUES__SLEEP__CONCURRENCY?",
        ),
        ("CALLBOARD_HTTP__PORT__X", "1", "unknown variable, did you mean CALLBOARD_HTTP__PORT?"),  # too deep
        ("CALLBOARD_XYZZY", "1", "unknown variable"),  # near to nothing
        ("CALLBOARD_HTTP__PORT", "x", "must be an integer"),
        ("CALLBOARD_LOG__LEVEL", "loud", "must be 'debug', 'info', 'warning' or 'error'"),
        ("CALLBOARD_DATA_DIR", "", "can't be blank"),
        ("CALLBOARD_QUEUES__A__TYPES", "{", "must be JSON: Expecting property name enclosed in double quotes"),
        ("CALLBOARD_QUEUES__A__BACKOFF", '{"base": "x"}', "'x' is not a duration: write for example 250ms"),
    ],
)
def test_a_bad_variable_is_named(tmp_path: Path, variable: str, value: str, said: str) -> None:
    found = lines(tmp_path, "", {variable: value})
    assert len(found) == 1
    assert found[0].startswith(f"{variable}: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[queues.sleep]\nconcurency = 3", "[queues.sleep] concurency: unknown option, did you mean concurrency?"),
        ("[queues.sleep]\nbackoff = { bass = 3 }", "[queues.sleep.backoff] bass: unknown option, did you mean base?"),
        ("[quues.sleep]", "quues: unknown option, did you mean queues?"),
        ("[http]\nport = '80'", "[http] port: must be an integer"),
        ("[log]\nzzz = 1", "[log] zzz: unknown option; known are format, level"),
        ("http = 3", "http: must be a table"),
        ("[queues]\nsleep = 3", "[queues] sleep: must be a table"),
        ("[queues.a]\ncommand = [1]", "[queues.a] command[0]: must be a text"),
        ("[queues.a]\ntypes = [1]", "[queues.a] types: must be a table"),
        ("[queues.a]\nworker = 1", "[queues.a] worker: must be a text"),
        (
            "[queues.a]\ntimeout = '5 s'",
            "[queues.a] timeout: '5 s' is not a duration: write for example 250ms, 5s, 1m30s, 2h or 7d",
        ),
        ("[queues.dead_letter]", "[queues] dead_letter: dead_letter is always there and can't be configured"),
        (
            "[queues.'A b']",
            "[queues] \"A b\": a queue's name is 1 to 63 of a-z, 0-9, '_', '.' and '-', and begins with a letter or digit",
        ),
        ("[queues.a]\nslots = 0", "[queues.a] slots: must be greater than or equal to 1"),
    ],
)
def test_a_bad_option_of_the_file_is_named_with_its_section(tmp_path: Path, text: str, said: str) -> None:
    assert lines(tmp_path, text) == [said]


def test_a_bad_flag_is_named(tmp_path: Path) -> None:
    assert lines(tmp_path, "http.port = 1", {"CALLBOARD_HTTP__PORT": "2"}, {"http": {"port": 70_000}}) == [
        "--port: must be less than or equal to 65535"
    ]


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = "[http]\nprt = 1\n[queues.a]\ntimeout = 'soon'"
    found = lines(tmp_path, text, {"CALLBOARD_XYZZY": "1"}, {"http": {"port": -1}})
    assert [line.partition(":")[0] for line in found] == ["CALLBOARD_XYZZY", "--port", "[http] prt", "[queues.a] timeout"]


def test_a_file_where_a_variable_meets_no_table_is_reported_not_overridden(tmp_path: Path) -> None:
    assert lines(tmp_path, "http = 3", {"CALLBOARD_HTTP__PORT": "1"}) == ["http: must be a table"]


def test_a_file_that_is_not_toml_is_reported_with_the_line(tmp_path: Path) -> None:
    [said] = lines(tmp_path, "[http]\nport = \n")
    assert "callboard.toml is not TOML: Invalid value (at line 2, column 8)" in said


def test_a_file_that_is_not_text_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "callboard.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"callboard.toml is not TOML: 'utf-8' codec can't decode"):
        load_settings(file, {}, {})


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere.toml can't be read: No such file or directory"):
        load_settings(tmp_path / "nowhere.toml", {}, {})

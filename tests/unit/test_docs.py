"""Keep the documents true where a program can tell: links, commands, routes, configuration, names of files."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from callboard.actors.cli.commands import make_command
from callboard.actors.handler_loading import handler_of, load_handler
from callboard.actors.handlers import Discard, TaskContext
from callboard.conf.settings import Settings
from callboard.http.answers import TaskAnswer
from callboard.http.endpoints import ENDPOINTS
from callboard.http.schemas import TaskRequest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCUMENTS = sorted([README, ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = ("actors", "conf", "http", "tests")
ROUTES = {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
NOT_YET = {"/metrics"}
"""Paths that documents name only to say that they are not there yet."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def spans(path: Path) -> list[str]:
    """Return what stands between backticks, outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", prose(path))


def anchors(path: Path) -> set[str]:
    """Return the names under which a document's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(command: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command that can be run, by its words after `callboard`."""
    for name, sub in getattr(command, "commands", {}).items():
        if hasattr(sub, "commands"):
            yield from commands(sub, f"{before}{name} ")
        else:
            yield before + name, sub


COMMANDS = dict(commands(make_command()))
GROUPS = {name.partition(" ")[0] for name in COMMANDS if " " in name}


def shell_lines(path: Path) -> list[str]:
    """Return what a document's blocks tell people to type."""
    text = path.read_text()
    return [line.partition("    #")[0].strip() for block in blocks(text, "(?:sh)?") for line in block.splitlines()]


def command_lines(path: Path) -> list[str]:
    """Return what a document tells people to type after `callboard`."""
    found = [re.fullmatch(r"(?:\S*/)?callboard ([a-z].*)", line) for line in (*shell_lines(path), *spans(path))]
    return [match[1].partition("  ")[0] for match in found if match]


def is_route(method: str, path: str) -> bool:
    """Tell whether a route answers this; a name or an id may stand where the route has a parameter."""
    return any(
        method in {known, "ANY"} and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) for known, template in ROUTES
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    broken = []
    for target in targets:
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (document.parent / file) if file else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


def test_every_document_is_linked_from_the_readme() -> None:
    targets = set(re.findall(r"\]\(([^)#\s]+)", README.read_text()))
    assert {named(path) for path in DOCUMENTS} - {"README.md"} - targets == set()


def test_the_documents_name_commands_at_all() -> None:
    assert len([line for document in DOCUMENTS for line in command_lines(document)]) > 20


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_exists_and_takes_its_options(document: Path) -> None:
    wrong = []
    for line in command_lines(document):
        words = shlex.split(line)
        command = COMMANDS.get(" ".join(words[: 2 if words[0] in GROUPS else 1]))
        options = {option for parameter in command.params for option in parameter.opts} if command else set()
        used = {word for word in words if word.startswith("--")}
        if command is None or used - options - {"--debug"}:
            wrong.append(line)
    assert wrong == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_on_commands_has_every_command_with_options_that_it_takes(name: str) -> None:
    described = [span for span in spans(ROOT / "docs" / "cli.md") if re.match(rf"{name}\b", span)]
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert described
    assert set(re.findall(r"--[a-z-]+", " ".join(described))) - options == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_route_exists(document: Path) -> None:
    routes = re.findall(r"(GET|POST|PUT|PATCH|DELETE) (/[\w/{}-]+(?:\.json)?)", document.read_text())
    routes += [("ANY", path) for path in re.findall(r"localhost:4000(/[\w/-]+)", document.read_text())]
    paths = [re.fullmatch(r"/(?:api/[\w/]+|healthz|readyz|metrics|docs|openapi\.json)", span) for span in spans(document)]
    routes += [("ANY", match[0]) for match in paths if match and match[0] not in NOT_YET]
    assert [route for route in routes if not is_route(*route)] == []


def test_the_readme_lists_every_route() -> None:
    listed = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?]*)`", README.read_text()))
    assert listed == ROUTES


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_piece_of_configuration_is_valid(document: Path) -> None:
    for block in blocks(document.read_text(), "toml"):
        Settings.model_validate(tomllib.loads(block))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_file_that_is_named_exists(document: Path) -> None:
    there = {path.relative_to(ROOT) for top in SHIPPED for path in (ROOT / top).rglob("*.py")}
    known = {path.as_posix() for path in there} | {"shop.py"}
    files = [span for span in spans(document) if re.fullmatch(r"[\w./]+\.py", span)]
    folders = [span for span in spans(document) if re.fullmatch(r"(?:actors|http|conf|tests|docs)/[\w/]*", span)]
    missing = [name for name in files if not any(path == name or path.endswith(f"/{name}") for path in known)]
    assert missing + [name for name in folders if not (ROOT / name).is_dir()] == []


def test_the_readmes_first_worker_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = README.read_text()
    (module,) = blocks(text, "python")
    (section,) = blocks(text, "toml")
    (tmp_path / "shop.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    (queue,) = Settings.model_validate(tomllib.loads(section)).queues.values()
    resize = load_handler(queue.worker)

    def ran(context: dict[str, Any]) -> Any:
        return resize(TaskContext("id", "images", queue.worker, context, 1, 3, 0.0, tmp_path, ""))

    assert ran({"url": "a.png"}) == {"width": 100}
    assert ran({}) == Discard("no url")
    assert '{"width": 100}' in text.replace(module, "")
    assert module.strip().count("\n") <= 11


def test_the_handlers_of_the_page_on_workers_can_be_loaded() -> None:
    names: dict[str, Any] = {}
    for block in blocks((ROOT / "docs" / "workers.md").read_text(), "python"):
        exec(compile(block, "workers.md", "exec"), names)
    assert {name: dict(handler_of(names[name]).options) for name in ("resize", "Report", "Train")} == {
        "resize": {"max_retries": 5, "timeout": "30s"},
        "Report": {"max_retries": 19},
        "Train": {"timeout": "12h"},
    }


def test_the_readmes_first_request_and_answer_are_those_of_the_server() -> None:
    text = README.read_text()
    (request,) = re.findall(r"--data '(\{.*?\}) '", text, flags=re.DOTALL)
    (answer,) = blocks(text, "json")
    wanted = TaskRequest.model_validate_json(request)
    shown = TaskAnswer.model_validate_json(answer).data
    assert (shown.queue, shown.context, shown.max_retries) == (wanted.queue, wanted.context, 2)
    assert json.loads(answer)["data"].keys() == shown.model_dump().keys()


def test_every_make_target_exists() -> None:
    targets = {match for document in DOCUMENTS for match in re.findall(r"`make ([a-z]+)`", prose(document))}
    targets |= {line.split()[1] for document in DOCUMENTS for line in shell_lines(document) if line.startswith("make ")}
    assert {"serve", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, flags=re.MULTILINE)] == []


def test_every_dependency_has_its_reason() -> None:
    project = PYPROJECT["project"]
    wanted = [*PYPROJECT["build-system"]["requires"], *project["dependencies"]]
    wanted += [line for lines in project["optional-dependencies"].values() for line in lines]
    text = (ROOT / "docs" / "dependencies.md").read_text().partition("## Not taken")[0]
    listed = {re.sub(r"\[.*", "", name) for name in re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)}
    assert listed == {Requirement(line).name for line in wanted}

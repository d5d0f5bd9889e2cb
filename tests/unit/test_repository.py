"""Keep the repository's frame: what is shipped, what must stay absent, what users' programs import."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = ("actors", "conf", "http")
IMPORTABLE = ("http.client", "callboard.http", "callboard.actors", "callboard.conf", "callboard.http.routes")
LOCK_FILES = ("requirements.lock", "requirements-dev.lock")


def asked_for(lock_file: str) -> list[Requirement]:
    """Return the project's own requirements, with all its extras for the second lock file."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values() if lock_file == LOCK_FILES[1] else []
    return [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]


def locked(lock_file: str) -> dict[str, str]:
    """Return the version that a lock file pins, by package."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / lock_file).read_text(), flags=re.MULTILINE))


def folders_with_modules() -> set[str]:
    """Return every package below the shipped folders by the name under which it is installed."""
    files = [path for top in SHIPPED for path in (ROOT / top).rglob("*.py")]
    return {".".join(("callboard", *path.parent.relative_to(ROOT).parts)) for path in files} | {"callboard.http"}


def test_http_has_no_init_file() -> None:
    # With one, `python -m …` from the root would find this folder instead of the standard library's http.
    assert not (ROOT / "http" / "__init__.py").exists()


def test_callboard_has_no_folder_of_its_own() -> None:
    assert not (ROOT / "callboard").exists()


def test_every_package_is_shipped() -> None:
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == folders_with_modules()


def test_every_package_but_http_has_an_init_file() -> None:
    # A folder without one is searched anew at each import, and mypy and pytest treat it differently.
    parts = [name.removeprefix("callboard.").split(".") for name in folders_with_modules() - {"callboard.http"}]
    assert [part for part in parts if not ROOT.joinpath(*part, "__init__.py").exists()] == []


def test_every_folder_of_tests_is_a_package() -> None:
    # Two test files of one name would otherwise hide one another.
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("module", IMPORTABLE)
def test_from_the_root_the_standard_library_and_ours_can_both_be_imported(module: str) -> None:
    # `python -c` puts the working directory first on the path, like `python -m`.
    done = subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", LOCK_FILES)
def test_a_lock_file_names_no_index_and_pins_everything(name: str) -> None:
    text = (ROOT / name).read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9._-]+==[^\s=]+( ;.*)? \\", line)] == []
    assert "://" not in text


@pytest.mark.parametrize("name", LOCK_FILES)
def test_a_lock_file_covers_what_the_project_asks_for(name: str) -> None:
    assert {requirement.name for requirement in asked_for(name)} - locked(name).keys() == set()


@pytest.mark.parametrize("name", LOCK_FILES)
def test_a_locked_version_is_within_the_range_asked_for(name: str) -> None:
    versions = locked(name)
    assert [str(one) for one in asked_for(name) if not one.specifier.contains(versions[one.name])] == []


def test_both_lock_files_pin_the_same_versions() -> None:
    plain, with_extras = (locked(name) for name in LOCK_FILES)
    assert {name: with_extras.get(name) for name in plain} == plain


def test_every_lint_exception_says_why() -> None:
    block = (ROOT / "pyproject.toml").read_text().partition("\nignore = [\n")[2].partition("\n]")[0]
    assert [line for line in block.splitlines() if not re.fullmatch(r'    "[A-Z]+\d*", +# .{20,}', line)] == []

# What one types here. Everything is made below .venv, build and var; `make clean` removes it (but for var, the data).

VENV := .venv
BIN := $(VENV)/bin
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11
NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
# The first that really runs: on some machines a name is there and only says that no such version is installed.
PYTHON ?= $(shell for p in $(CANDIDATES); do if $$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo $$p; break; fi; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV_COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--quiet --upgrade pyproject.toml

.PHONY: help serve test coverage check lint types bench lock clean
.DELETE_ON_ERROR:

help:
	@echo "make serve     start Callboard on http://127.0.0.1:4000, data in ./var"
	@echo "make test      run all tests (ARGS='-k name' for some, ARGS=-n0 for one after the other)"
	@echo "make coverage  run all tests and say which lines none of them reaches"
	@echo "make check     lint, types and all tests: what CI runs"
	@echo "make bench     measure speed and memory"
	@echo "make lock      choose new versions of the dependencies"
	@echo "make clean     remove what was made, but not ./var"

serve: $(VENV)/.installed
	@exec $(BIN)/callboard serve --config conf/callboard.toml

# A file stays together, for its tests share servers; in the order of their names the slow ones come in the middle, so that
# no process is the last for long. ARGS comes after this and can take it back: ARGS='-n0 tests/unit'.
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

coverage: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov --cov-report=term-missing:skip-covered $(ARGS)

# Where no bytecode may be written, each of the thousand processes of a run would compile everything anew.
test coverage: export PYTHONDONTWRITEBYTECODE :=

check: lint types
	@$(MAKE) --no-print-directory test

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

# The packages are checked under the names that programs import, through links: by their folders' names, mypy would
# take http for the standard library's. That every package is also shipped is a test's business.
types: $(VENV)/.installed-dev
	@mkdir -p build/types/callboard
	@ln -sfn ../../../actors build/types/callboard/actors
	@ln -sfn ../../../conf build/types/callboard/conf
	@ln -sfn ../../../http build/types/callboard/http
	@ln -sfn ../../tests build/types/tests
	@set -o pipefail; cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache \
		-p callboard.actors -p callboard.conf -p callboard.http -p tests | sed 's#^callboard/##'

bench: $(VENV)/.installed
	@$(BIN)/callboard bench $(ARGS)

lock: $(VENV)/.installed
	@$(PIP) uv
	@$(UV_COMPILE) --output-file requirements.lock
	@$(UV_COMPILE) --all-extras --constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) build dist callboard.egg-info htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .schemathesis
	find actors conf http tests -name __pycache__ -type d -prune -exec rm -rf {} +

# bash, for pipefail: a pipe must not hide that its first command failed.
types: SHELL := bash

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Callboard needs Python 3.11 or later, with its venv module (Debian: apt install python3-venv)." >&2; \
		echo "None of these is that: $(CANDIDATES). Name another: make PYTHON=/path/to/python" >&2; exit 1; fi
	@echo "Making $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv $(VENV)

# Exactly the locked versions, then the project itself, editable. The stamps make the second time quick.
$(VENV)/.installed: pyproject.toml requirements.lock | $(BIN)/python
	@echo "Installing ..."
	@$(PIP) --requirement requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing what the tests and checks need ..."
	@$(PIP) --requirement requirements-dev.lock
	@touch $@

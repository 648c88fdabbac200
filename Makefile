# Everything here needs python3 (3.11 or newer, with venv) and make, nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup run demo check format test parts bench lock clean
.DEFAULT_GOAL := help

help:  ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make the virtual environment and install everything locked

$(STAMP): requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: setup  ## start the whole stack here (Ctrl-C stops it)
	@exec $(BIN)/vfolder up

demo: setup  ## show the main job on real files, from upload to delete
	@exec $(BIN)/vfolder demo

check: setup  ## format, lint, types, import rule, house rules
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/codespell
	@$(BIN)/python -m pytest -q -p no:randomly tests/house

format: setup  ## format the code
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

test: setup  ## run the tests (what needs `make parts` is skipped and named)
	@$(BIN)/python -m pytest

parts:  ## install the system packages that some tests and benchmarks use (Debian, root)
	@deploy/parts.sh

bench: setup  ## measure against references in the same run
	@$(BIN)/python -m benchmarks

lock: setup  ## resolve the dependencies anew and write the lock files
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
	    --python-version 3.11 pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
	    --python-version 3.11 pyproject.toml --group dev -o requirements-dev.lock

clean:  ## remove what setup made (not your data in var/)
	@rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache

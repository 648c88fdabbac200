# These commands need only python3 (3.11 or newer, with venv) and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
TOOLS  := $(VENV)/.tools
# Processes that share the tests. Tests mostly wait: with two for each of two cores, half of the time
# of the cores is unused, with four next to none; with three, deadlines are rarely near.
PROCESSES ?= 6
# Tests start hundreds of processes. Python must keep the code that it has compiled.
unexport PYTHONDONTWRITEBYTECODE
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help setup run demo console check check-types check-style check-house format test thorough mutants screenshots parts bench lock clean
.DEFAULT_GOAL := help

help:  ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(TOOLS)  ## create the virtual environment from the lock files, with the tools

# Only what runs the service: `make run` and `make demo` need no more.
$(READY): requirements.lock pyproject.toml setup.py $(wildcard backends/*.c backends/*/*.c)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11; set a newer one: make PYTHON=python3.12 …"; exit 1; }
	@test -x $(BIN)/python || { echo "creating the virtual environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing what the service needs"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(TOOLS): $(READY) requirements-dev.lock
	@echo "installing the tools for tests and checks"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

run: $(READY)  ## start the whole stack here (Ctrl-C stops it)
	@exec $(BIN)/vfolder up

demo: $(READY)  ## show a vfolder with real files, from upload to delete
	@exec $(BIN)/vfolder demo

console:  ## build the console in the browser again (Node, by `make parts`)
	@deploy/console.sh

check: setup  ## format, lint, types, import rule, house rules
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-types check-style check-house

# The types take one core for as long as all the rest takes the other one.
check-types:
	@$(BIN)/mypy

check-style:
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/codespell
	@deploy/console.sh --check

check-house:
	@$(BIN)/python -m pytest -q -p no:randomly tests/house

format: setup  ## format the code
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

# The house rules are tests, too: `make check` runs them.
test: setup  ## run the tests (tests that need `make parts` are skipped and named)
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --ignore tests/house

thorough:  ## all tests, on every simulated system, and many more of what they repeat by chance; hours
	@THOROUGH=1 $(MAKE) test

mutants: setup  ## plant bugs one at a time, the nearest tests must find each (ONLY="kinds …" COPIES=2)
	@$(BIN)/python -m tests.mutants -n $(or $(COPIES),2) $(ONLY)

screenshots: setup  ## take pictures of every page of the console for docs/images/console (by `make parts`)
	@$(BIN)/python -m tests.api.people.console.screenshots

parts:  ## install the system packages that some tests and benchmarks use (Debian, root)
	@deploy/parts.sh

bench: setup  ## measure speed against references of the same run
	@$(BIN)/python -m benchmarks

lock: setup  ## resolve the dependencies again and write the lock files
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
	    --python-version 3.11 pyproject.toml --group build -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
	    --python-version 3.11 pyproject.toml --group dev -o requirements-dev.lock

clean:  ## remove what setup created (not your data in var/)
	@rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache

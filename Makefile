# The two commands of the README are `make train` and `make test`; the rest serves development.
# They need Python 3.11 or newer, and a network for the first installation into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
SETTINGS ?= size=6
STEPS ?= 2000000
JOBS ?= 2 # test files at a time

.PHONY: train test reproduce lint format types bench clean

train: $(VENV)/.installed
	$(BIN)/metarl train Snake-v0 $(SETTINGS) --agent mlp hidden=128,128 --steps $(STEPS)

test: $(VENV)/.tested
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --durations 40

reproduce: $(VENV)/.tested
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.developed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/.developed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.developed
	$(BIN)/mypy

bench: $(VENV)/.benched
	$(BIN)/python benchmarks/envs.py
	$(BIN)/python benchmarks/ppo.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Each stamp is renewed when pyproject.toml changes.
$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.tested: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.benched: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[test,bench]'
	@touch $@ $(VENV)/.tested $(VENV)/.installed

$(VENV)/.developed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[test,dev]'
	@touch $@ $(VENV)/.tested $(VENV)/.installed

$(BIN)/pip:
	@test -n '$(PYTHON)' || { \
		echo 'metarl needs Python 3.11 or newer, and there is none; on Debian: apt install python3-venv'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'metarl needs Python 3.11 or newer; name one with `make PYTHON=python3.11 ...`'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'This Python cannot make virtual environments; on Debian: apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv $(VENV)

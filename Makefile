# Every target makes .venv when it lacks; nothing else has to be typed first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= results/demo
PACKAGES := privacy aggregation attacks experiments paper tests

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-browser test-postgres nightly audit bench bench-federation lint format lock paper clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## the environment (about a minute)

# pip takes torch first and alone: the lock then finds it there, and no resolver ever meets CUDA.
$(VENV)/.ready: requirements.lock pyproject.toml torch.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (about a minute) ..."
	@$(BIN)/python -c "import importlib.metadata as m, sys; sys.exit('torch==' + m.version('torch').split('+')[0] != open('torch.txt').read().strip())" 2>/dev/null \
	  || $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r torch.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@touch $@

demo: setup ## four real hospitals: figure, table, verified report (about 3 minutes)
	@$(BIN)/inpatient demo --out $(OUT)

test: setup ## all tests that need Python alone
	@HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest -q -n auto --dist worksteal

test-browser: setup ## the auditor's page in headless Chromium (Debian: chromium fonts-noto-cjk)
	@HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest -q -m browser

test-postgres: setup ## hospitals' tables from a PostgreSQL of the tests' own (Debian: postgresql)
	@HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest -q -m postgres

nightly: setup ## hours of hunting: kills, tamperings, random Hypothesis
	@HYPOTHESIS_PROFILE=hunt $(BIN)/python -m pytest -q -m nightly

# For somebody who only verifies: a small environment of its own, without torch.
.venv-audit/.ready: requirements-audit.lock
	@test -x .venv-audit/bin/python || $(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-audit.lock
	@touch $@

audit: .venv-audit/.ready ## verify LEDGER=folder-or-file [TRUST=keys.json], nothing else installed
	@test -n "$(LEDGER)" || { echo "Say what to verify: make audit LEDGER=results/demo TRUST=trust.json"; exit 2; }
	@.venv-audit/bin/python -c "from experiments.cli import main; main()" ledger verify $(LEDGER) $(if $(TRUST),--trust $(TRUST))

# Our code beside its peers, in an environment of their own; an absent peer is an error.
.venv-bench/.ready: requirements-bench.lock torch.txt pyproject.toml
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install -q --disable-pip-version-check --no-deps -r torch.txt
	@.venv-bench/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@.venv-bench/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

bench: .venv-bench/.ready ## sealing beside NVFLARE, Flower and Paillier, as ratios in one run
	@.venv-bench/bin/inpatient bench sealing

# pfl-research cannot share an environment with our accountant: its own, started as a process.
.venv-bench-pfl/.ready: requirements-bench-pfl.lock torch.txt
	@test -x .venv-bench-pfl/bin/python || $(PYTHON) -m venv .venv-bench-pfl
	@.venv-bench-pfl/bin/python -m pip install -q --disable-pip-version-check --no-deps -r torch.txt
	@.venv-bench-pfl/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-bench-pfl.lock
	@touch $@

bench-federation: .venv-bench/.ready .venv-bench-pfl/.ready ## 36,000 hospitals, beside Flower's and pfl-research's simulators
	@.venv-bench/bin/inpatient bench federation

lint: setup ## ruff and mypy --strict
	@$(BIN)/ruff check $(PACKAGES)
	@$(BIN)/ruff format --check $(PACKAGES)
	@$(BIN)/mypy

format: setup ## let ruff mend what it can
	@$(BIN)/ruff check --fix $(PACKAGES)
	@$(BIN)/ruff format $(PACKAGES)

# Needs no environment that fits pyproject.toml: it is called when that has changed.
$(BIN)/uv:
	@$(MAKE) setup

lock: $(BIN)/uv ## resolve requirements.lock anew (only here is uv used)
	@$(BIN)/uv pip compile -q pyproject.toml --extra test --universal --generate-hashes \
	  --constraint torch.txt --no-emit-package torch --no-header --no-annotate -o requirements.lock
	@$(BIN)/uv pip compile -q requirements-audit.in --universal --python-version 3.11 --generate-hashes \
	  --constraint requirements.lock --no-header --no-annotate -o requirements-audit.lock
	@$(BIN)/uv pip compile -q pyproject.toml requirements-bench.txt --universal --generate-hashes \
	  --constraint torch.txt --no-emit-package torch --no-header --no-annotate -o requirements-bench.lock
	@$(BIN)/uv pip compile -q requirements-bench-pfl.txt --universal --python-version 3.11 --generate-hashes \
	  --constraint torch.txt --no-emit-package torch --no-header --no-annotate -o requirements-bench-pfl.lock

paper: setup ## paper/paper.pdf from the committed records
	@$(BIN)/inpatient paper

clean: ## remove the environment and the results
	rm -rf $(VENV) .venv-audit .venv-bench .venv-bench-pfl results

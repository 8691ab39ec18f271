# Every target makes .venv when it lacks; nothing else has to be typed first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= results/demo
PACKAGES := privacy aggregation attacks experiments paper tests

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format lock paper clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

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
	@HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest -q

lint: setup ## ruff and mypy --strict
	@$(BIN)/ruff check $(PACKAGES)
	@$(BIN)/ruff format --check $(PACKAGES)
	@$(BIN)/mypy

format: setup ## let ruff mend what it can
	@$(BIN)/ruff check --fix $(PACKAGES)
	@$(BIN)/ruff format $(PACKAGES)

lock: setup ## resolve requirements.lock anew (only here is uv used)
	@$(BIN)/uv pip compile -q pyproject.toml --extra test --universal --generate-hashes \
	  --constraint torch.txt --no-emit-package torch --no-header --no-annotate -o requirements.lock

paper: setup ## paper/paper.pdf from the committed records
	@$(BIN)/inpatient paper

clean: ## remove the environment and the results
	rm -rf $(VENV) results

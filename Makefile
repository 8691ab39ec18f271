# Every target makes .venv when it lacks; nothing else has to be typed first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= results/demo
export HYPOTHESIS_PROFILE ?= ci
PACKAGES := privacy aggregation attacks experiments paper tests

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-browser test-postgres test-anonymity test-fresh nightly resolve audit anonymity bench bench-setup bench-federation bench-authors lint format lock paper clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

# Makes an environment, or sees in a moment that it stands. The script can be read by Python 3.11 and
# newer alone, so that is asked first. An environment that stands brings its own Python: PYTHON has
# to be named once only.
NEWER := import sys; sys.version_info >= (3, 11) or sys.exit("Inpatient needs Python 3.11 or newer, and \
  %s is %d.%d: name another (make PYTHON=/path/to/python3)." % ((sys.argv[1],) + sys.version_info[:2]))
define environment
@python="$(PYTHON)"; if [ "$(origin PYTHON)" = file ] && [ -x $(2)/bin/python ]; then python=$(2)/bin/python; fi; \
  command -v "$$python" >/dev/null || { echo "There is no $$python: install Python 3.11 or newer, or name it (make PYTHON=/path/to/python3)." >&2; exit 1; }; \
  "$$python" -c '$(NEWER)' "$$python" && "$$python" -P experiments/environment.py $(1)
endef

setup: ## the environment (a minute or a few); TORCH=cuda, TORCH_INDEX=URL, PYTHON=python3.13
	$(call environment,main,$(VENV))

demo: setup ## four real hospitals: figure, table, verified report (about 3 minutes)
	@$(BIN)/inpatient demo --out $(OUT)

# Arrays' shapes are checked at each call where arrays are what it is about. Everywhere that takes four
# times as long: it is done by night.
SHAPES := --jaxtyping-packages=privacy,aggregation,attacks,experiments,beartype.beartype
SHAPED := tests/privacy/mechanisms tests/attacks/knowledge tests/attacks/scoring \
  tests/attacks/views tests/experiments/evaluation
test: setup ## all tests that need Python alone
	@$(BIN)/python -m pytest -q -n auto --dist worksteal
	@$(BIN)/python -m pytest -q -n auto --dist worksteal $(SHAPES) $(SHAPED)

test-browser: setup ## the auditor's page in headless Chromium (Debian: chromium fonts-noto-cjk)
	@$(BIN)/python -m pytest -q -m browser

test-postgres: setup ## hospitals' tables from a PostgreSQL of the tests' own (Debian: postgresql)
	@$(BIN)/python -m pytest -q -m postgres

test-anonymity: setup anonymity ## k-anonymous tables by anjana itself
	@$(BIN)/python -m pytest -q -m anonymity

nightly: setup anonymity ## hours of hunting: kills, tamperings, random Hypothesis; new clones
	@HYPOTHESIS_PROFILE=hunt $(BIN)/python -m pytest -q -m nightly
	@$(BIN)/python -m pytest -q -n auto --dist worksteal $(SHAPES)
	@HYPOTHESIS_PROFILE=hunt $(BIN)/python -m pytest -q tests/privacy/accounting/test_trees.py  # 20,000 of them
	@$(MAKE) test-fresh

# As a stranger's machine does it: the last commit, pip as it comes, a folder with a space. Without a
# build for CPUs in reach that is 2.7 GB and 7 GB of disk (in TMPDIR) for each Python.
PYTHONS ?= python3.11 python3.13
test-fresh: ## demo and tests in new clones, for each of PYTHONS
	@for python in $(PYTHONS); do \
	  folder=$$(mktemp -d) && git clone -q . "$$folder/a clone" && \
	  PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= $(MAKE) -C "$$folder/a clone" PYTHON=$$python demo test; \
	  status=$$?; rm -rf "$$folder"; [ $$status = 0 ] || exit $$status; \
	done

# Asks the index alone, and installs nothing. pyhocon (Python alone) has no wheel anywhere, anjana's
# numpy none for 3.13.
MACHINES := x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin
resolve: setup ## a wheel for every package, for Linux and macOS, Python 3.11 to 3.13
	@for machine in $(MACHINES); do for version in 3.11 3.12 3.13; do \
	  for what in "--require-hashes -r requirements.lock" "--require-hashes -r requirements-audit.lock" "-r torch.txt" \
	    "--require-hashes -r requirements-anonymity.lock"; do \
	    case "$$version $$what" in 3.13*anonymity*) continue;; esac; \
	    MACOSX_DEPLOYMENT_TARGET=14.0 $(BIN)/uv pip install -q --dry-run --no-config --no-deps --only-binary :all: --no-binary pyhocon \
	      --target $(VENV)/none --python-platform $$machine --python-version $$version $$what \
	    || { echo "No wheels for $$machine, Python $$version: $$what" >&2; exit 1; }; \
	  done; \
	done; done

# For somebody who only verifies: a small environment of its own, without torch.
audit: ## verify LEDGER=folder-or-file [TRUST=keys.json], nothing else installed
	@test -n "$(LEDGER)" || { echo "Say what to verify: make audit LEDGER=results/demo TRUST=trust.json"; exit 2; }
	$(call environment,audit,.venv-audit)
	@.venv-audit/bin/python -m privacy.ledger verify $(LEDGER) $(if $(TRUST),--trust $(TRUST))

# Python 3.11 or 3.12: anjana's numpy has no wheels for 3.13.
anonymity: ## anjana, which `inpatient deidentified` makes tables k-anonymous with
	$(call environment,anonymity,.venv-anonymity)

# Our code beside its peers, in an environment of their own; an absent peer is an error.
bench-setup:
	$(call environment,bench,.venv-bench)

bench: bench-setup ## sealing beside NVFLARE, Flower and Paillier, as ratios in one run
	@.venv-bench/bin/inpatient bench sealing
	@.venv-bench/bin/inpatient bench filters

bench-federation: bench-setup ## 36,000 hospitals, beside Flower's and pfl-research's simulators
	$(call environment,bench-pfl,.venv-bench-pfl)
	@.venv-bench/bin/inpatient bench federation

bench-authors: ## beside tabular-GIA's own code: TABULAR_GIA=checkout ADULT=folder [ARGUMENTS=...]
	@test -n "$(TABULAR_GIA)" -a -n "$(ADULT)" || { echo "Say where they are: make bench-authors TABULAR_GIA=checkout ADULT=folder"; exit 2; }
	$(call environment,bench-tabular-gia,.venv-bench-tabular-gia)
	@.venv-bench-tabular-gia/bin/inpatient bench authors --tabular-gia "$(TABULAR_GIA)" --adult "$(ADULT)" $(ARGUMENTS)

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
	@$(BIN)/uv pip compile -q pyproject.toml requirements-bench-tabular-gia.txt --universal --generate-hashes \
	  --constraint torch.txt --no-emit-package torch --no-header --no-annotate -o requirements-bench-tabular-gia.lock
	@$(BIN)/uv pip compile -q requirements-anonymity.txt --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate -o requirements-anonymity.lock

paper: setup ## paper/paper.pdf from the committed records
	@$(BIN)/python -m paper

clean: ## remove the environment and the results
	rm -rf $(VENV) .venv-audit .venv-bench .venv-bench-pfl .venv-bench-tabular-gia .venv-anonymity results

# Everything from a bare clone, with Python 3.11 or newer and make alone: `make demo`, `make test`, `make lint`.
#
#   make demo PYTHON=python3.12           another interpreter
#   make demo TORCH_INDEX=<url>           take torch from this package index: a CPU build, another CUDA
#
# The first target installs everything into .venv; the next ones find it there.

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= 2

export OMP_NUM_THREADS ?= 1

.PHONY: help demo test lint bench campaign-crash campaign-resume campaign-remote clean
.DEFAULT_GOAL := help

help: ## list the targets
	@echo "make demo    set up, then make four previews and a final through the HTTP API"
	@echo "make test    set up, then run the tests (WORKERS=$(WORKERS) processes)"
	@echo "make lint    set up, then ruff, mypy and the import contracts"
	@echo "make bench   set up, then the benchmarks"
	@echo "make campaign-crash   set up, then kill it everywhere (forty minutes; SEED=<n> replays, QUICK=1: three)"
	@echo "make campaign-resume  set up, then kill a rendering worker 30 times (ten minutes; SEED=<n>, KILLS=<n>)"
	@echo "make campaign-remote  set up, then 2,000 jobs at imitated providers (fifteen minutes; SEED= JOBS= KILLS= FAULTS=)"
	@echo "make clean   remove all that these targets made, $(VENV) too"
	@echo
	@echo "PYTHON=$(PYTHON) makes $(VENV); TORCH_INDEX=<url> names the package index that torch comes from"

demo: $(STAMP)
	@$(BIN)/reelgate demo

test: $(STAMP)
	@echo "== tests"
	@$(BIN)/python -m pytest -n $(WORKERS)

lint: $(STAMP)
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== mypy"
	@$(BIN)/mypy
	@echo "== import contracts"
	@$(BIN)/lint-imports

bench: $(STAMP)
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python -m benchmarks.$$(basename $$script .py); done

campaign-crash: $(STAMP)
	@$(BIN)/python -m tests.campaigns.crash $(if $(SEED),--seed $(SEED)) $(if $(QUICK),--quick)

campaign-resume: $(STAMP)
	@$(BIN)/python -m tests.campaigns.resume $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS))

campaign-remote: $(STAMP)
	@$(BIN)/python -m tests.campaigns.remote $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS)) \
	  $(if $(KILLS),--kills $(KILLS)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(DATABASE),--database $(DATABASE))

clean:
	@echo "== removing $(VENV), build output, caches and demo-out"
	@rm -rf $(VENV) build dist demo-out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt tests/fixtures/reelgate-comet/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Reelgate needs Python 3.11 or newer; $(PYTHON) is: `$(PYTHON) --version 2>&1 | head -1`"; \
	  echo "Name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "== making $(VENV) with `$(PYTHON) --version`"
	@$(PYTHON) -m venv $(VENV)
	@echo "== installing reelgate and what it needs (the first time several minutes: torch is large)"
ifneq ($(TORCH_INDEX),)
	@$(PIP) install --quiet --no-deps "`grep '^torch==' constraints.txt`" --index-url "$(TORCH_INDEX)"
endif
	@$(PIP) install --quiet --editable '.[wan,postgres,dev]' --constraint constraints.txt
	@$(PIP) install --quiet --editable tests/fixtures/reelgate-comet --no-deps --no-build-isolation
	@touch $@

SHELL := bash
VENV ?= .venv
PYTHON ?= python3
BACKEND ?= $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SCALE ?= auto
QUICK ?= false
RUN := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: help setup demo reproduce-paper test lint type format clean
help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 17

setup: $(READY) ## a virtual environment with esr and vLLM (BACKEND=cpu|cuda, found by itself)

$(READY): pyproject.toml constraints.txt scripts/setup.sh
	VENV=$(VENV) BACKEND=$(BACKEND) PYTHON=$(PYTHON) scripts/setup.sh
	@touch $@

demo: $(READY) ## the main job on the lab pair: 40 steps of ESR at N=64, accuracy before and after
	$(BIN)/esr train +rollout_len=64 eval_every=10 run_dir=$(RUN)

reproduce-paper: $(READY) ## every table and figure that applies (SCALE=lab|paper QUICK=true), and the report
	$(BIN)/esr reproduce scale=$(SCALE) quick=$(QUICK)

test: $(READY) lint type ## lint, types, all tests, and one short run
	$(BIN)/python -m pytest
	dir=$$(mktemp -d) && $(BIN)/esr train +rollout_len=16 steps=3 limit=16 run_dir=$$dir/run \
	    && rm -r $$dir

lint: $(READY) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY) ## mypy
	$(BIN)/mypy

format: $(READY) ## ruff, writing
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

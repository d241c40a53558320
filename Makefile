SHELL := bash
VENV ?= .venv
PYTHON ?= python3
BACKEND ?= $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SCALE ?= auto
JOBS ?= 2
QUICK ?= false
RUN := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: help setup demo reproduce-paper test lint type format house docs notebook clean
help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 17

setup: $(READY) ## create a virtual environment with esr and vLLM (BACKEND=cpu|cuda, else detected)

$(READY): pyproject.toml constraints.txt scripts/setup.sh
	VENV=$(VENV) BACKEND=$(BACKEND) PYTHON=$(PYTHON) scripts/setup.sh
	@touch $@

demo: $(READY) ## train the lab pair: 40 steps of ESR at N=64, with accuracy before and after
	$(BIN)/esr train +rollout_len=64 eval_every=10 run_dir=$(RUN)

reproduce-paper: $(READY) ## run all experiments (SCALE=lab|paper QUICK=true) and write the report with tables and figures
	$(BIN)/esr reproduce scale=$(SCALE) quick=$(QUICK)

test: $(READY) lint type ## run lint, type checks, all tests (JOBS=2 files at a time) and one short training run
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile
	dir=$$(mktemp -d) && $(BIN)/esr train +rollout_len=16 steps=3 limit=16 strict=true run_dir=$$dir/run \
	    && rm -r $$dir

lint: $(READY) ## run ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY) ## run mypy
	$(BIN)/mypy

format: $(READY) ## fix and format with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

house: $(READY) ## draw docs/images/house.svg, the rooms of the code, from the imports
	$(BIN)/python scripts/draw_house.py

docs: $(READY) ## build the pages of docs/ as a site, strictly, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html; its search needs a server: python -m http.server -d site"

notebook: $(READY) ## execute examples/first_hour.ipynb and keep its outputs
	$(BIN)/python scripts/execute_notebook.py examples/first_hour.ipynb

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache

# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
# A process per core, but no more than four, since each takes about 1 GB; one that has nothing left
# takes over tests of another.
WORKERS := -n logical --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help env demo test test-all bench docs lint format clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: $(STAMP)  ## Make the virtual environment in .venv

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing hqdm and what it needs into $(VENV) (about 2 minutes) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)  ## Train a hybrid U-Net on 8x8 digits, sample it, score it (about 2 minutes)
	$(BIN)/hqdm demo --out runs/demo --overwrite

test: $(STAMP)  ## Run the test suite (about 6 minutes on two cores)
	$(BIN)/python -m pytest $(WORKERS) -m "not slow"

test-all: $(STAMP)  ## Run every test, the slow ones too
	$(BIN)/python -m pytest $(WORKERS)

bench: $(STAMP)  ## Measure the simulators beside their peers (about 15 minutes on an idle machine)
	$(BIN)/python benchmarks/simulators.py

$(DOCS_STAMP): $(STAMP)
	@echo "Installing what builds the documentation into $(VENV) ..."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: $(DOCS_STAMP)  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict --clean

lint: $(STAMP)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## Correct what ruff can correct
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the virtual environment, the built documentation and caches
	rm -rf $(VENV) .venv-bench site .mypy_cache .ruff_cache .hypothesis

# `make demo` and `make test` also install the package and its requirements.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
# One process per core, at most four, since each needs about 1 GB; idle processes take over tests of
# others.
WORKERS := -n logical --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help env demo test test-all test-device bench gpu gpu-wheels docs lint format clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: $(STAMP)  ## Create the virtual environment in .venv

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing hqdm and its requirements into $(VENV) (about 2 minutes) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)  ## Train a hybrid U-Net on 8x8 digits, sample it, score it (2 to 7 minutes)
	$(BIN)/hqdm demo --out runs/demo --overwrite

test: $(STAMP)  ## Run the test suite (8 minutes on two cores, 2 more the first time)
	$(BIN)/python -m pytest $(WORKERS) -m "not slow"

test-all: $(STAMP)  ## Run all tests, including slow ones
	$(BIN)/python -m pytest $(WORKERS)

test-device: $(STAMP)  ## Run PennyLane's tests of devices on hqdm.qubit (about 1 minute)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pl-device-test --device hqdm.qubit --shots None -q -p no:cacheprovider
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pl-device-test --device hqdm.qubit --shots 10000 -q -p no:cacheprovider

bench: $(STAMP)  ## Compare simulators, device and layers with others (about 20 minutes on an idle machine)
	$(BIN)/python benchmarks/simulators.py
	$(BIN)/python benchmarks/pennylane_device.py --write benchmarks/results/pennylane_device.md
	$(BIN)/python benchmarks/quantum_convolution.py --write benchmarks/results/quantum_convolution.md
	$(BIN)/python benchmarks/amplitude_speed.py --write benchmarks/results/amplitude_speed.md
	$(BIN)/python benchmarks/states_speed.py --write benchmarks/results/states_speed.md

# Without $(STAMP): that machine has no network, and torch for its GPU.
gpu:  ## Check and measure on an NVIDIA GPU, 8 minutes, offline: WHEELS=folder (docs/gpu.md)
	@started=$$(date +%s); \
	$(PYTHON) benchmarks/gpu_environment.py install $(WHEELS) && \
	.venv-gpu/bin/python benchmarks/gpu.py --started $$started \
		$(if $(WHEELS),--commit "$$(cat $(WHEELS)/commit.txt)") $(GPU_OPTIONS)

gpu-wheels: $(STAMP)  ## Collect the packages for `make gpu`: WHEELS=folder
	$(BIN)/python benchmarks/gpu_environment.py download $(WHEELS) $(WHEELS_OPTIONS)

$(DOCS_STAMP): $(STAMP)
	@echo "Installing the documentation tools into $(VENV) ..."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: $(DOCS_STAMP)  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict --clean

lint: $(STAMP)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## Format the code and apply automatic corrections
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the virtual environment, the built documentation and caches
	rm -rf $(VENV) .venv-bench .venv-gpu site .mypy_cache .ruff_cache .hypothesis

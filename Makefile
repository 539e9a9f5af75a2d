# Rounds: `make tiny` goes from nothing to a verdict; `make test` runs the whole test-suite. Both work in a fresh clone.
#
#   make tiny PYTHON=python3.12                                    another Python (3.11 or newer)
#   make soak RUN=DIR                                             the long fault tests of the server (hours)
#   make tiny TORCH_INDEX=URL                                      PyTorch's own index of CPU wheels (README names it)
#
# On Linux the `torch` of plain PyPI brings several GB of CUDA packages, which are not needed here and do no harm.
# With TORCH_INDEX the CPU build is taken instead: its version (2.x.y+cpu) sorts above PyPI's 2.x.y.

PYTHON ?= python3
TORCH_INDEX ?=
RUN ?= runs/tiny

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: tiny test test-chain test-rest slow soak gpu4 clean
.DELETE_ON_ERROR:

# The verb prints the verdict table, the path of the report and how to serve the model.
tiny: $(VENV)/.installed
	$(BIN)/rounds run tiny

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@echo "two halves of the suite side by side; each prints when it has ended (some minutes) ..."
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-chain test-rest

# The chain's tests read one finished toy run and take as long as all the others.
test-chain:
	$(BIN)/pytest -m "not slow" tests/chain

test-rest:
	$(BIN)/pytest -m "not slow" --ignore tests/chain

slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m slow

# 4 bits for servers with a GPU: llmcompressor in an environment of its own, and its tests.
gpu4:
	$(PYTHON) -m venv .venv-gpu4
	.venv-gpu4/bin/python -m pip --disable-pip-version-check --quiet install $(INDEX) -e '.[gpu4]' pytest pytest-timeout
	.venv-gpu4/bin/python -m pytest -q tests/quant/test_compressed.py

# Hours: whether the ward holds, in full length, against the run of `make tiny` or RUN=DIR; ends with 1 when it does not.
soak: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/ward.py $(RUN) --minutes 30 --clients 64 --cancels 1000 --slow 500
	$(BIN)/python benchmarks/ward_kills.py $(RUN) --kills 1000
	$(BIN)/python benchmarks/doors.py $(RUN)
	$(BIN)/pytest -m slow -o timeout=0 tests/serve/test_faults.py

# Keeps runs/: a run may have cost hours.
clean:
	rm -rf $(VENV) .venv-gpu4 build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Rounds needs Python 3.11 or newer, $(PYTHON) is older or missing; use: make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No venv could be made; on Debian: apt install python3-venv" >&2; exit 2; }

# torch first and alone: what follows then keeps that build instead of choosing one to suit torchvision.
# torchvision goes again: optimum-intel lists it, nothing here uses it, and PyPI's wheel of it does not load beside a
# CPU build of torch.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV) (once; several minutes) ..."
	$(PIP) install $(INDEX) "torch>=2.8,<2.14"
	$(PIP) install $(INDEX) --editable ".[cpu,serve]"
	$(PIP) uninstall --yes torchvision
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	$(PIP) install --editable ".[dev]"
	@touch $@

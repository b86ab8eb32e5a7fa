# make demo   set up, train Cartpole from pixels on the CPU (under 10 minutes), film the result
# make test   set up, then lint (ruff, codespell), order of the rooms (import-linter), types (pyright), tests
# make docs   set up, then build the documentation site into site/, strictly
# make setup  only set up: .venv with the package and its dependencies at tested versions

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NOW := $(shell date +%Y%m%d-%H%M%S)
EXTRAS ?= dev,docs,deploy,view
JOBS ?= 2
RUN ?= runs/demo-$(NOW)
DEMO_FLAGS ?=

# PyTorch's own index has a CPU build, a tenth of the size of the CUDA build that PyPI gives on
# Linux. It is used where it can be reached; pip's configuration is left as it is otherwise.
CPU_INDEX := https://download.pytorch.org/whl/cpu
PROBE := import urllib.request as u; u.urlopen("$(CPU_INDEX)/torch/", timeout=5).close()

.PHONY: demo test setup lint types tests docs clean
.NOTPARALLEL:

setup: $(STAMP)

$(STAMP): pyproject.toml constraints-cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "dva needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12 setup"; \
	  exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	index=; $(BIN)/python -c '$(PROBE)' 2>/dev/null && index="--extra-index-url $(CPU_INDEX)"; \
	$(BIN)/python -m pip install $$index --constraint constraints-cpu.txt --editable '.[$(EXTRAS)]'
	touch $@

demo: setup
	@$(BIN)/dva demo --run-dir $(RUN) $(DEMO_FLAGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/codespell

types: setup
	$(BIN)/pyright

tests: setup
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile

docs: setup
	$(BIN)/mkdocs build --strict

test: lint types tests

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache site

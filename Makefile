# Needs Python 3.11 or newer, a C compiler and make; everything else is installed into .venv by the first target.
#
#   make demo     float network -> 1-bit file -> speed and accuracy, on built-in data
#   make test     lint, types, Python tests, C tests plain, under sanitizers, and for 64-bit ARM under qemu
#   make results  rows of recipes/RESULTS.md that are missing: hours; ONLY="ID ..." some, MINUTES=N for so long,
#                 FORCE=1 those that are there too
#   make lint | format | bench | clean

PYTHON ?= python3
WORKERS ?= auto
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
C_FILES := $(shell find kernels -name '*.[ch]' 2>/dev/null)
SOURCES := pyproject.toml $(shell find bincompress recipes kernels -type f -not -name '*.pyc' -not -name results.json -not -name RESULTS.md)

# On Linux, PyPI's torch comes with gigabytes of CUDA; this index has the CPU build of the same version.
ifeq ($(shell uname -s),Linux)
# It is asked for torch alone: where it cannot be reached, pip waits long over every package.
TORCH_INDEX ?= --extra-index-url https://download.pytorch.org/whl/cpu
endif

CMAKE := $(BIN)/cmake -S kernels -G Ninja "-DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja"
CTEST := $(BIN)/ctest --output-on-failure --parallel 2 --test-dir
# Own little matrices do not gain from threads, and tests already run one process per core.
TEST_ENV := OMP_NUM_THREADS=1

.PHONY: demo test lint format bench results clean test-python test-c test-aarch64 install
.DEFAULT_GOAL := demo

demo: install
	$(BIN)/bincompress demo

test: lint test-c test-aarch64 test-python

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

test-python: install
	$(TEST_ENV) $(BIN)/python -m pytest -q -n $(WORKERS)

# Installs the cross compiler and qemu as root on Debian, and says so; skips with a reason where it cannot.
test-aarch64: $(VENV)/.dependencies
	PATH="$(CURDIR)/$(BIN):$$PATH" CMAKE_GENERATOR=Ninja kernels/tests/aarch64.sh build/aarch64

test-c: $(VENV)/.dependencies
	$(CMAKE) -B build/release -DCMAKE_BUILD_TYPE=Release
	$(BIN)/cmake --build build/release
	$(CTEST) build/release
	$(CMAKE) -B build/sanitize -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1 -DBC_SANITIZE=ON
	$(BIN)/cmake --build build/sanitize
	$(CTEST) build/sanitize
	$(CMAKE) -B build/thread -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1 -DBC_SANITIZE=thread
	$(BIN)/cmake --build build/thread --target check_run
	$(CTEST) build/thread -R '^run$$'

bench: install
	$(BIN)/bincompress bench --kernels

# Training goes on where it was stopped: checkpoints are in results-work/. Data and models: BINCOMPRESS_DATA.
results: install
	$(BIN)/bincompress results $(foreach id,$(ONLY),--only '$(id)') $(if $(MINUTES),--budget-minutes $(MINUTES)) $(if $(FORCE),--force)

clean:
	rm -rf build dist demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

install: $(VENV)/.installed

$(VENV)/.dependencies: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is too old: Python 3.11 or newer is needed; run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): a few minutes, the first time"
	$(PIP) install -qq -c constraints.txt $(TORCH_INDEX) --no-deps torch
	$(PIP) install -qq -c constraints.txt torch scikit-build-core cmake ninja
	touch $@

# Not editable: what runs is what a wheel would hold. `--no-build-isolation` keeps constraints.txt in force.
$(VENV)/.installed: $(VENV)/.dependencies $(SOURCES)
	$(PIP) install -qq -c constraints.txt --no-build-isolation '.[dev]'
	touch $@

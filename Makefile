# Every target first installs Headwater into .venv, if that has not happened yet. It needs only Python.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help setup demo test test-slow test-all check bench
help:
	@echo "make demo      run the whole chain: embed 2,624 photos, train two heads, serve them over HTTP, classify"
	@echo "make test      run the tests: a few minutes (FILES=tests/store K=labels: only these files, only tests of this name)"
	@echo "make test-slow run the tests that make test leaves out: long ones, and every member of large families"
	@echo "make test-all  run all tests that need no GPU"
	@echo "make check     run the linter, the formatter, the type checker and the import contracts"
	@echo "make bench     measure speed and accuracy (DATA=folder: also on the Parquet data sets in that folder)"
	@echo "make setup     install into .venv, and do nothing else (PYTHON=python3.13: with that interpreter)"

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) .ci/python_version.py
	@echo "Installing into .venv: several minutes and about 7 GB, most of it torch."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# Without its dependencies: video loaders that are never imported.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps imagebind-unofficial==0.1.1
	@touch $@

demo: setup
	$(BIN)/headwater demo

# One process per core, each with one BLAS and torch thread: more threads would only wait for each other.
# --no-loadscope-reorder keeps the order of the files: xdist would start those with few tests last, which take longest.
# A choice of files or names runs in one process, which starts faster.
# Bytecode is kept, whatever the environment says: workers and the processes of tests would compile the same files again.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(if $(FILES)$(K),,--numprocesses auto --dist loadfile --no-loadscope-reorder)
CHOSEN = $(if $(K),-k '$(K)') $(FILES)

test: setup
	$(PYTEST) $(CHOSEN)

test-slow: setup
	$(PYTEST) -m 'slow and not gpu' $(CHOSEN)

test-all: test test-slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA))

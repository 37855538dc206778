# Every target makes .venv by itself; a user needs Python 3.11 or newer and nothing else.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help setup demo test check bench
help:
	@echo "make demo   embed 2,624 photos, train two heads, serve them, ask them"
	@echo "make test   run the tests"
	@echo "make check  ruff, mypy --strict, import contracts"
	@echo "make bench  measure speed and accuracy (DATA=folder of Parquet data sets for more)"
	@echo "make setup  only install into .venv"

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Headwater needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "Installing into .venv: several minutes and about 7 GB, most of it torch."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# Without its dependencies: video loaders that are never imported.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps imagebind-unofficial==0.1.1
	@touch $@

demo: setup
	$(BIN)/headwater demo

# One BLAS and torch thread a process: with one process a core, more would only wait for each other (three times the work).
# Files in their order, not those with most tests first: the longest have few, and would be begun last.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA))

# `make test` and `make demo` need Python 3.11 or newer and nothing else: each first makes .venv with the
# versions in constraints.txt. `make PYTHON=/path/to/python3.12 test` names another Python.

PYTHONS := python3 python3.14 python3.13 python3.12 python3.11 python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach p,$(PYTHONS),$(shell $p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $p)))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.organoseg-installed
BARE := $(VENV)/.organoseg-bare
WINDOW := $(VENV)/.organoseg-window
EXTRAS ?= dev
TESTS ?= tests

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help setup test lint types unit format demo docs constraints clean

help:
	@echo "make demo    synthetic organoids: train, compare, write demo/report.html (no data, no download)"
	@echo "make test    ruff, mypy and pytest   (make unit TESTS=tests/core: only these tests)"
	@echo "make docs    the site, in site/ (needs no network once the environment is there)"
	@echo "make setup   only the environment in $(VENV)"
	@echo "make format  let ruff format and mend what it can"

setup: $(STAMP)

# An environment; what is installed into it follows.
define make_venv
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(NEW_ENOUGH)' || \
		{ echo "organoseg needs Python 3.11 or newer; name one: make PYTHON=python3.12 setup" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "no virtual environment could be made; on Debian or Ubuntu: apt install python3-venv" >&2; \
		rm -rf $(VENV); exit 2; }
endef

# The pins keep pip off the newest torch, which is several GB with its CUDA libraries.
$(STAMP): pyproject.toml constraints.txt
	$(make_venv)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch $@

# What organoseg itself needs, and no tools of developers; they can be added to the same environment later.
$(BARE): pyproject.toml constraints.txt
	$(make_venv)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

# napari and Qt, for the tests of the plugin.
$(WINDOW): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS),napari,window]"
	@touch $@

test: lint types unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

unit: $(WINDOW)
	$(BIN)/python -m pytest $(TESTS)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# --force makes an earlier demo anew; it clears nothing but what a demo leaves.
demo: $(BARE)
	$(BIN)/organoseg demo --out demo --force

# Warnings are errors; the variable silences a word of its theme about a successor.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Writes the versions of this environment down as the tested ones (after the tests have passed with them).
constraints: $(STAMP)
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | \
		grep -v -e '^-e' -e ' @ ' | LC_ALL=C sort -f > constraints.new
	grep '^#' constraints.txt | cat - constraints.new > constraints.txt.new
	mv constraints.txt.new constraints.txt
	rm constraints.new

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site organoseg.egg-info

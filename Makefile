# `make help` lists what can be made. The first call sets up a .venv in this folder, later calls start at once.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed  ## set up .venv, and no more

demo: .venv/installed  ## the whole way on drawn cats and dogs, in a few minutes
	$(BIN)/reslab demo

test: .venv/installed  ## formatter, linter, types, layers and all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist worksteal

check: .venv/installed  ## the fast half of test: format, lint, types, layers, quick tests
	$(BIN)/ruff format .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) -m "not slow"

notebooks: .venv/installed  ## the course as notebooks, in build/notebooks
	$(BIN)/python docs/course/notebooks.py build/notebooks

docs: .venv/installed  ## the documentation site, in build/site
	$(BIN)/python docs/build_site.py

wheel: .venv/installed  ## build dist/*.whl
	$(BIN)/python -m build --wheel --outdir dist .

clean:  ## remove everything that make made
	rm -rf .venv dist build reslab-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "reslab needs Python 3.11 or newer; name one: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "this Python cannot make a venv; on Debian: apt-get install python3-venv"; exit 2; }
	@echo "setting up .venv (torch and its kin, about 5 GB): takes a few minutes, once"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

.PHONY: help install demo test check notebooks docs wheel clean

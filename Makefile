# Needs make and Python 3.11 or newer; everything else goes into .venv, once.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# Written as the last act of a set-up that went through; without it the next call sets up again.
STAMP := $(VENV)/.faultkit-installed
ARGS ?=

.PHONY: help setup test demo bench lint build clean
.DEFAULT_GOAL := help

help:
	@echo 'make setup   make $(VENV) and install faultkit with all that its tests need'
	@echo 'make test    run the whole test suite; ARGS="-k plan" passes options to pytest'
	@echo 'make demo    break saves and loads of the stock engine on four ranks'
	@echo 'make bench   measure faultkit beside other runners'
	@echo 'make lint    check style and types'
	@echo 'make build   make the wheel and the source archive in dist/'
	@echo 'make clean   remove all that these targets made, $(VENV) included'

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@works() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }; \
	if works $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1; then exit 0; fi; \
	for python in $(PYTHON) python3.11 python3; do \
	  if works "$$python"; then \
	    echo "Making $(VENV) with $$($$python --version)"; \
	    exec "$$python" -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo 'faultkit needs Python 3.11 or newer, and neither python3.11 nor python3 is one:' \
	  "python3 is $$(python3 --version 2>&1 || echo missing). Install one, or name it:" \
	  'make PYTHON=/path/to/python3.11 setup' >&2; \
	exit 1
	@echo 'Installing faultkit and what it needs into $(VENV) (the first time takes minutes: torch is large)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

test: setup
	@$(BIN)/python -m pytest -n 2 $(ARGS)

# A sweep exits 1 when it finds a broken promise. Of the stock engine that is a finding, not a failure
# of the demo; 2 (bad usage) and 3 (the harness failed) are.
demo: setup
	@for scenario in dcp-save dcp-load; do \
	  echo "$(BIN)/faultkit sweep $$scenario --world 4"; \
	  status=0; $(BIN)/faultkit sweep $$scenario --world 4 || status=$$?; \
	  [ $$status -le 1 ] || exit $$status; \
	done

bench: setup
	@$(BIN)/python -m benchmarks.run $(ARGS)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

build: setup
	@$(BIN)/python -m build --outdir dist .

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

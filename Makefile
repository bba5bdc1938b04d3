# Needs make and Python 3.11 or newer; everything else goes into a folder .venv*, once, in the exact versions of a file
# in locks/.

SHELL := /bin/sh
TORCH_DEFAULT := 2.13.0
TORCH ?= $(TORCH_DEFAULT)
VENV := .venv$(if $(filter-out $(TORCH_DEFAULT),$(TORCH)),-torch-$(TORCH))
LOCK := locks/torch-$(TORCH).txt
BIN := $(VENV)/bin
# Written as the last act of a set-up that went through; without it the next call sets up again.
STAMP := $(VENV)/.faultkit-installed
ARGS ?=
COMMA := ,

EXTRAS := test
REQUIREMENTS :=# files of what is installed beside faultkit
ALONE :=# a file of what is installed without the versions that it asks for

# What tests_engines/ needs, beside one torch.
ENGINES_LOCK := locks/engines-torch-$(TORCH_DEFAULT).txt
ENGINES_EXTRAS := test,hf,s3,torch-checkpointing,ray,dask,slurm
ENGINES_REQUIREMENTS := tests_engines/requirements.txt
ENGINES_ALONE := tests_engines/requirements-no-deps.txt

DOCS_LOCK := locks/docs.txt
DOCS_REQUIREMENTS := docs/requirements.txt

# A suite starts hundreds of interpreters, of which each would compile what it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup test test-fast test-newest test-engines setup-engines lock demo bench bench-quick findings docs lint build clean
.DEFAULT_GOAL := help

help:
	@echo 'make setup        make $(VENV) and install faultkit with all that its tests need'
	@echo 'make test         run the whole test suite; ARGS="-k plan" passes options to pytest'
	@echo 'make test-fast    run the tests that take little, about a minute; ARGS as for test'
	@echo 'make test-engines run tests_engines/: checkpointers and executors that need other software, in .venv-engines'
	@echo 'make demo         break saves and loads of the stock engine on four ranks, and crash an overwrite'
	@echo 'make bench        measure faultkit beside its limits: feel, throughput, scale'
	@echo 'make bench-quick  the figures that take seconds, all in less than a minute'
	@echo 'make findings     check every built-in checkpointer, and render docs/findings.md'
	@echo 'make docs         make the site of the documentation, build/site/, in .venv-docs; a link to nowhere fails'
	@echo 'make lint         check style, types and who imports whom'
	@echo 'make build        make the wheel and the source archive in dist/'
	@echo 'make test-newest  run the suite with the newest of everything that pyproject.toml allows: what is coming'
	@echo 'make lock         renew locks/, the exact versions that the other targets install'
	@echo 'make clean        remove all that these targets made, $(VENV) included'
	@echo 'TORCH=VERSION     with any of them: another torch, in a folder of its own: $(patsubst locks/torch-%.txt,%,$(wildcard locks/torch-*.txt))'

setup: $(STAMP)

# The tools that build the package are locked like the rest, so it is built in the environment itself.
$(STAMP): pyproject.toml $(LOCK) $(REQUIREMENTS) $(ALONE)
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
	@set -e; pip='$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CHOICE)'; \
	$$pip $(BUILDERS); $$pip --no-build-isolation -e '.[$(EXTRAS)]' $(REQUIREMENTS:%=-r %); \
	$(ALONE:%=$$pip --no-deps -r %)
	@touch $@

CHOICE = -c $(LOCK)
BUILDERS := hatchling

locks/torch-%.txt:
	@echo "there is no $@: torch $* is not one of $(patsubst locks/torch-%.txt,%,$(wildcard locks/torch-*.txt))," \
	  'on which faultkit is tested; make lock TORCH=$* adds it' >&2; exit 1

test: setup
	@echo 'Running the suite: about a quarter of an hour on two quiet cores.'
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

test-fast: setup
	@echo 'Running the tests that take little: about a minute on two quiet cores. The others: make test.'
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not slow and not soak' $(ARGS)

test-newest:
	@rm -f .venv-newest/.faultkit-installed
	@$(MAKE) --no-print-directory test VENV=.venv-newest LOCK= CHOICE='--upgrade --upgrade-strategy eager'

# Some of it is built from source: DeepSpeed without its kernels, which need a compiler for GPUs.
setup-engines:
	@DS_BUILD_OPS=0 $(MAKE) --no-print-directory setup VENV=.venv-engines LOCK=$(ENGINES_LOCK) \
	  BUILDERS='hatchling setuptools' EXTRAS='$(ENGINES_EXTRAS)' \
	  REQUIREMENTS='$(ENGINES_REQUIREMENTS)' ALONE='$(ENGINES_ALONE)'

test-engines: setup-engines
	@echo 'Running the tests of what needs other software.'
	@.venv-engines/bin/python -m pytest tests_engines -n 2 $(ARGS)

# One file for each torch, of every Python that faultkit runs on; all are renewed, and that of TORCH is added.
lock:
	@[ -x .venv-lock/bin/uv ] || { $(or $(PYTHON),python3) -m venv .venv-lock; \
	  .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv; }
	@set -e; for lock in $(sort $(wildcard locks/*.txt) $(LOCK)); do \
	  version=$${lock##*torch-}; version=$${version%.txt}; asked='--extra test pyproject.toml'; \
	  case $$lock in $(DOCS_LOCK)) continue;; locks/engines-*) \
	    asked="$(patsubst %,--extra %,$(subst $(COMMA), ,$(ENGINES_EXTRAS))) pyproject.toml $(ENGINES_REQUIREMENTS)";; esac; \
	  echo "torch==$$version" > .venv-lock/torch.txt; \
	  { echo "# Made by 'make lock': what is installed beside torch $$version, on Python 3.11 and newer."; \
	    .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	      --constraints .venv-lock/torch.txt $$asked; } > .venv-lock/lock.txt; \
	  mv .venv-lock/lock.txt $$lock; echo "renewed $$lock"; \
	done
	@{ echo "# Made by 'make lock': what makes the site of the documentation, on Python 3.11 and newer."; \
	  .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	    $(DOCS_REQUIREMENTS); } > .venv-lock/lock.txt; mv .venv-lock/lock.txt $(DOCS_LOCK); echo 'renewed $(DOCS_LOCK)'

# A sweep and a crash exit with 1 when they find a broken promise. Of the stock engine that is a finding, not a
# failure of the demo; 2 (bad usage) and 3 (the harness failed) are.
demo: setup
	@for shown in 'sweep dcp-save --world 4' 'sweep dcp-load --world 4' \
	    'crash dcp-overwrite --world 2 --model killed'; do \
	  echo; echo "$(BIN)/faultkit $$shown"; echo; \
	  status=0; $(BIN)/faultkit $$shown || status=$$?; \
	  [ $$status -le 1 ] || exit $$status; \
	done
	@echo; echo 'What to do next:'
	@echo; echo '  one of these failures by itself, with the story of every rank:'
	@echo "    $(BIN)/faultkit replay 'reader.reset@0=raise(ValueError)' --scenario dcp-load --world 4"
	@echo '  a function of your own, module:name, broken at each of its points on 2 ranks:'
	@echo '    $(BIN)/faultkit sweep yourmodule:save --world 2'
	@echo '  what else can be broken, and every command:'
	@echo '    $(BIN)/faultkit points'
	@echo '    $(BIN)/faultkit --help'

bench: setup
	@$(BIN)/python -m benchmarks.run $(ARGS)

bench-quick: setup
	@$(BIN)/python -m benchmarks.run --quick $(ARGS)

findings: setup
	@$(BIN)/python docs/findings/collect.py $(ARGS)

# Its tools read faultkit and do not import it: no torch is installed for them.
.venv-docs/.installed: $(DOCS_LOCK) $(DOCS_REQUIREMENTS)
	@$(or $(PYTHON),python3) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -c $(DOCS_LOCK) -r $(DOCS_REQUIREMENTS)
	@touch $@

docs: .venv-docs/.installed
	@.venv-docs/bin/python docs/site_pages.py .venv-docs/pages
	@.venv-docs/bin/zensical build --strict --clean
	@echo 'build/site/index.html is the first page.'

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

build: setup
	@$(BIN)/python -m build --no-isolation --outdir dist .

clean:
	rm -rf .venv .venv-* build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `make book` and `make test` each set up everything they need in .venv and do their job; a second call re-installs nothing.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
BUILD := book/_build
WORKERS := -n auto --maxprocesses 4 --dist loadfile
SOURCES := tripod_lite tests ci benchmarks book data/cards

# The book and the tests are meant for a CPU; `make test JAX_PLATFORMS=cuda` tries them elsewhere.
export JAX_PLATFORMS ?= cpu

# The first Python on the path that is new enough and can make a virtual environment; `make PYTHON=/path/to/python` names one.
PYTHON ?= $(shell for python in python3.12 python3.11 python3.13 python3 python; do \
	if "$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; \
	then echo "$$python"; break; fi; done)

.PHONY: help setup book test smoke bench oldest newest colab links lint fix lock hooks clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## install the package and its tools in .venv (the other targets do it when needed)

$(STAMP): pyproject.toml requirements.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 with the venv module on the path. Install one (on Debian and Ubuntu also" >&2; \
		echo "the package python3-venv), or name one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.12" >&2; exit 1; fi
	@if ! $(PY) -c 'import pip' 2>/dev/null; then echo "Making $(VENV) with $$("$(PYTHON)" --version)"; "$(PYTHON)" -m venv --clear $(VENV); fi
	$(PY) -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[book,test]'
	@# Kernels warn of unencrypted transport at every start, on loopback too, which reads like a fault of the book.
	@mkdir -p $(VENV)/etc/ipython && echo 'c.IPKernelApp.log_level = "CRITICAL"' > $(VENV)/etc/ipython/ipython_kernel_config.py
	@touch $@

book: $(STAMP)  ## execute the chapters and build the book: book/_build/html/index.html
	$(PY) ci/book_cache.py $(BUILD)
	rm -rf $(BUILD)/html
	@# --all reads every page again, so a warning fails each build, not only the first; executed notebooks come from the cache.
	$(VENV)/bin/jupyter-book build . --path-output book --all -W -n --keep-going
	$(PY) ci/check_book.py $(BUILD)/html

test: $(STAMP)  ## run the tests
	$(PY) -m pytest $(WORKERS)

smoke: $(STAMP)  ## run the training notebooks of ci/matrix.yml for a few steps each: build/smoke
	@# From nothing: what an earlier version of the code has left would count as done.
	rm -rf build/smoke
	$(PY) ci/matrix.py smoke --jobs 2

bench: $(STAMP)  ## measure what a training step costs, in ten minutes, on an idle machine: data/benchmarks
	$(PY) -m benchmarks

oldest:  ## run the tests with the oldest versions that pyproject.toml allows, in .venv-oldest
	$(or $(PYTHON),python3) ci/versions.py $@ $(WORKERS)

newest:  ## run the tests with the newest versions that pyproject.toml allows, in .venv-newest
	$(or $(PYTHON),python3) ci/versions.py $@ $(WORKERS)

colab: $(STAMP)  ## run every notebook as a reader does in Colab, with Colab's versions
	$(PY) ci/try_like_colab.py

links: $(STAMP)  ## ask for every address that the built book links to, after `make book`
	$(PY) ci/check_links.py $(BUILD)/html

lint: $(STAMP)  ## report style, formatting, notebooks that are not stripped and numbers that are typed
	$(PY) -m ruff check $(SOURCES)
	$(PY) -m ruff format --check $(SOURCES)
	$(PY) ci/strip_notebooks.py --check book data/cards
	$(PY) ci/install_cell.py --check
	$(PY) ci/check_numbers.py

fix: $(STAMP)  ## mend what `make lint` reports, where a tool can
	$(PY) ci/install_cell.py
	$(PY) ci/strip_notebooks.py book data/cards
	$(PY) -m ruff check --fix $(SOURCES)
	$(PY) -m ruff format $(SOURCES)

lock: $(STAMP)  ## renew requirements.lock from pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check uv
	$(PY) -m uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
		--no-emit-index-url --no-header --no-annotate --quiet -o requirements.lock

hooks: $(STAMP)  ## run `make lint`'s checks before every commit
	$(VENV)/bin/pre-commit install

clean:  ## remove the built book and the caches, keep .venv
	rm -rf $(BUILD) build .venv-oldest .venv-newest .pytest_cache .ruff_cache .hypothesis

# Each command makes its own virtual environment from pyproject.toml if there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= lrjax-out

.PHONY: demo test test-slow test-explorer test-versions lint format bench reproduce figures clean help

help:  ## This list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("lrjax needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of dependencies, renewed when pyproject.toml changes.
$(VENV)/.%: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(VENV)/.core: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

demo: $(VENV)/.core  ## Find a learning rate for the handwritten digits: a table, a picture, a JSON file.
	$(BIN)/lrjax find --out $(OUT)

test: $(VENV)/.test  ## The tests that take minutes; -n 2 uses two cores.
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.test  ## The tests marked slow.
	$(BIN)/python -m pytest -n 2 -m slow

EXPLORER := .venv-explorer

$(EXPLORER)/.done: pyproject.toml
	$(PYTHON) -m venv $(EXPLORER)
	$(EXPLORER)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[explorer-test]'
	@touch $@

test-explorer: $(EXPLORER)/.done  ## The explorer's page, in a headless Chromium (apt-get installs one if there is none and we may).
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -qq -y chromium; } || \
	  { echo 'There is no chromium: install it, for example with "apt-get install chromium".'; exit 1; }
	$(EXPLORER)/bin/python -m pytest -q -m slow tests/test_explorer_page.py tests/test_explorer.py

test-versions:  ## The suite on every other supported Python at hand, each with the newest JAX it can have.
	@sh tests/versions.sh

lint: $(VENV)/.lint  ## Style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.lint  ## Put the sources in order.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench  ## The speed of the engine, against hand-written JAX and PyTorch.
	$(BIN)/python experiments/speed/engine.py

reproduce: $(VENV)/.experiments  ## The paper and the benchmark of selectors, from the data (LRJAX_DATA) to the figures: hours.
	$(BIN)/python -m experiments.paper.bert
	$(BIN)/python -m experiments.paper.bart
	$(BIN)/python -m experiments.paper.resnet
	$(BIN)/python -m experiments.benchmark.record
	$(BIN)/python -m experiments.benchmark.replay
	$(BIN)/python -m experiments.benchmark.ablations
	$(BIN)/python -m experiments.benchmark.defaults
	$(BIN)/python -m experiments.benchmark.frontier
	$(BIN)/python -m paper_figures.frontier
	$(BIN)/python -m experiments.benchmark.page
	$(BIN)/python -m paper_figures

figures: $(VENV)/.experiments  ## The paper's figures, docs/paper.md and docs/benchmark.md, from the committed results.
	$(BIN)/python -m paper_figures
	$(BIN)/python -m paper_figures.frontier
	$(BIN)/python -m experiments.benchmark.page

clean:  ## Remove the virtual environments and what the demo wrote.
	rm -rf $(VENV) $(EXPLORER) .venv-3.* $(OUT)

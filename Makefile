# Each command makes its own virtual environment from pyproject.toml if there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= lrjax-out

.PHONY: demo test test-slow test-explorer test-integrations test-versions test-wheel lint format bench docs docs-serve reproduce \
  figures clean help

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

# What fails is tried once more: on a busy machine a browser can be late.
test-explorer: $(EXPLORER)/.done  ## The explorer's page, in a headless Chromium (apt-get installs one if there is none and we may).
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -qq -y chromium; } || \
	  { echo 'There is no chromium: install it, for example with "apt-get install chromium".'; exit 1; }
	$(EXPLORER)/bin/python -m pytest -q -m slow tests/test_explorer_page.py tests/test_explorer.py || \
	  $(EXPLORER)/bin/python -m pytest -q -m slow --last-failed tests/test_explorer_page.py tests/test_explorer.py

test-versions:  ## The suite on every other supported Python at hand, each with the newest JAX it can have.
	@sh tests/versions.sh

test-integrations:  ## Every integration against its library, each in an environment of its own.
	@PYTHON=$(PYTHON) sh tests/integrations.sh

test-wheel:  ## The sdist and the wheel, installed in an empty environment: the command and the README's example.
	@PYTHON=$(PYTHON) sh tests/wheel.sh

lint: $(VENV)/.lint  ## Style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.lint  ## Put the sources in order.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench  ## The speed of the engine, against hand-written JAX and PyTorch.
	$(BIN)/python experiments/speed/engine.py

docs: $(VENV)/.docs  ## The site, from docs/ and the docstrings, into site/: strict, checked, without a network.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m docs_site.check

docs-serve: $(VENV)/.docs  ## The site at http://127.0.0.1:8000, rebuilt as you write.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --livereload

reproduce: $(VENV)/.experiments  ## The paper and the benchmark of selectors, from the data (LRJAX_DATA) to the figures: hours.
	$(BIN)/python -m experiments.paper.bert
	$(BIN)/python -m experiments.paper.bart
	$(BIN)/python -m experiments.paper.efficientnet
	$(BIN)/python -m experiments.paper.resnet
	$(BIN)/python -m experiments.benchmark.record
	$(BIN)/python -m experiments.benchmark.replay
	$(BIN)/python -m experiments.benchmark.ablations
	$(BIN)/python -m experiments.benchmark.defaults
	$(BIN)/python -m experiments.benchmark.loss_record
	$(BIN)/python -m experiments.benchmark.lossjudged
	$(BIN)/python -m experiments.benchmark.frontier
	$(BIN)/python -m experiments.benchmark.outside
	$(BIN)/python -m experiments.fashion.live
	$(BIN)/python -m experiments.benchmark.drift
	$(BIN)/python -m experiments.benchmark.constants
	$(BIN)/python -m experiments.benchmark.long
	$(BIN)/python -m experiments.benchmark.frontier --folder long
	$(BIN)/python -m experiments.benchmark.families
	$(BIN)/python -m experiments.benchmark.peaks
	$(BIN)/python -m experiments.benchmark.long_peaks
	$(BIN)/python -m experiments.schedules.forecast
	$(BIN)/python -m experiments.schedules.short
	$(BIN)/python -m experiments.schedules.warmup
	$(BIN)/python -m experiments.benchmark.live
	$(BIN)/python -m experiments.paper.budgets
	$(BIN)/python -m experiments.scaling.largest
	$(BIN)/python -m experiments.scaling.noise
	$(BIN)/python -m experiments.scaling.llamas
	$(BIN)/python -m experiments.scaling.mup
	$(BIN)/python -m experiments.examples.grid gan diffusion pinn actor_critic fsdp accumulation padded_text
	$(BIN)/python -m experiments.examples.page
	$(BIN)/python -m paper_figures.frontier
	$(BIN)/python -m experiments.benchmark.page
	$(BIN)/python -m experiments.fashion.page
	$(BIN)/python -m paper_figures
	$(BIN)/python -m paper_figures.fashion

figures: $(VENV)/.experiments  ## The pictures and numbers of the pages: from the committed results, the guide's from short runs.
	$(BIN)/python -m paper_figures
	$(BIN)/python -m paper_figures.frontier
	$(BIN)/python -m paper_figures.fashion
	$(BIN)/python -m experiments.benchmark.page
	$(BIN)/python -m experiments.fashion.page
	$(BIN)/python paper_figures/schedules.py
	$(BIN)/python -m paper_figures.guide
	$(BIN)/python -m paper_figures.shapes

clean:  ## Remove the virtual environments, what the demo wrote and what the tests compiled.
	rm -rf $(VENV) .venv-* $(OUT) site .jax_cache

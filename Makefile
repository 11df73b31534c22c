# The same commands locally and in CI. VENV may name another virtual environment.
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install check format lint types test test-clients bench

install:
	python3 -m venv $(VENV)
	$(BIN)/pip install -q -e '.[test,dev]'

check: lint types test

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

test:
	$(BIN)/pytest -q -n auto

test-clients:
	$(BIN)/pytest -q -m clients -rs

bench:
	$(BIN)/python -m benchmarks

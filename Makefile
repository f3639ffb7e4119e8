# Each target makes what it needs, its virtual environment included.
#   make demo        a 4D scene of a photograph, by the model that ships
#   make train-demo  records, five short trainings, a 4D scene by these
#   make train-tiny  the same five trainings, longer (resumable)
#   make test        every test but the exhaustive ones
#   make reference   installs PyTorch, diffusers and transformers, so that
#                    make test compares the networks with theirs too
#   make test-aot    compiles kernels and train steps for real TPUs and a GPU,
#                    without one
#   make test-long, make test-aot-long   the exhaustive ones of each
#   make docs        the guides as a site, in build/site/
PYTHON ?= python3
VENV ?= .venv
RUNS ?= runs
# libtpu, the compiler for TPUs, comes with a newer jax than Python 3.11 has.
AOT_PYTHON ?= PYENV_VERSION=3.12 python3.12
AOT_VENV ?= .venv-aot
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REFERENCE := $(VENV)/.reference
DOCS := $(VENV)/.docs
# One process for each of two cores; the tests of a file stay together.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: install reference demo train-demo train-tiny test test-fast test-long test-aot \
  test-aot-long docs lint format clean

install: $(STAMP)

$(STAMP): setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, found $$($(PYTHON) -V);" \
	    "run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[demo,test]'
	touch $@

reference: $(REFERENCE)

$(REFERENCE): $(STAMP)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[reference]'
	touch $@

demo: $(RUNS)/coffee.png
	$(BIN)/more4d generate --image $< --out $(RUNS)/scene \
	  --prompt 'a cup slides slowly to the left'

$(RUNS)/coffee.png: $(STAMP)
	mkdir -p $(@D)
	$(BIN)/python -c 'import skimage.data, skimage.io; \
	  skimage.io.imsave("$@", skimage.data.coffee())'

train-demo: $(STAMP)
	$(BIN)/more4d train-all --recipe demo --out $(RUNS)/demo

train-tiny: $(STAMP)
	$(BIN)/more4d train-all --recipe tiny --out $(RUNS)/tiny

test: $(STAMP)
	$(PYTEST) -m 'not long'

test-fast: $(STAMP)
	$(PYTEST) -m 'not long and not slow'

test-long: $(STAMP)
	$(PYTEST) -m long

test-aot: AOT_TESTS := not long
test-aot-long: AOT_TESTS := long

# XLA_FLAGS: the tests' own would switch the compilers' optimisations off.
test-aot test-aot-long:
	@if ! $(AOT_PYTHON) -c '' 2>/dev/null; then \
	  echo 'skipped: no Python 3.12; make AOT_PYTHON=... $@'; \
	elif ! $(MAKE) --no-print-directory $(AOT_VENV)/.installed; then \
	  echo 'skipped: the compilers for TPU and GPU cannot be installed here'; \
	else XLA_FLAGS=--xla_force_host_platform_device_count=8 \
	  $(AOT_VENV)/bin/python -m pytest -m '$(AOT_TESTS)' \
	  $$(find tests/kernels tests/planning -name '*aot_test.py' \
	    -o -name 'mosaic_gpu*_test.py'); fi

# Without its dependencies the plugin takes 140 MB instead of 3 GB, and
# compiles all the same.
$(AOT_VENV)/.installed: Makefile
	$(AOT_PYTHON) -m venv $(AOT_VENV)
	$(AOT_VENV)/bin/pip install --quiet 'jax[tpu]==0.11.2' --editable . \
	  beartype hypothesis pytest
	$(AOT_VENV)/bin/pip install --quiet --no-deps \
	  jax-cuda13-plugin==0.11.2 jax-cuda13-pjrt==0.11.2
	touch $@

$(DOCS): $(STAMP)
	$(BIN)/pip install --quiet --editable '.[docs]'
	touch $@

docs: $(DOCS)
	$(BIN)/python docs/make_configuration.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(AOT_VENV) build *.egg-info

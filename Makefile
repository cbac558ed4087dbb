# make test    create .venv where it is missing, then lint, types and tests
# make demo    create .venv where it is missing, then digits -> encoder -> bank -> GAN -> picture and number
# make env     the environment alone
# make lock    compile requirements/lock-py311.txt anew
#
# PYTHON names the interpreter that .venv is made of: make test PYTHON=python3.11. The lock is
# tested with 3.11; another version gets the newest packages that setup.py allows.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := .venvs/uv/bin/uv
STAMP := $(VENV)/.installed
INPUTS := setup.py pyproject.toml $(wildcard requirements/*.txt)

# An index that pip was told of by the environment holds for uv too.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
# Files are linked from uv's cache where the file system allows it, copied elsewhere.
export UV_LINK_MODE ?= hardlink
# Small models: more threads only cost time.
export OMP_NUM_THREADS ?= 2

.PHONY: env test lint demo lock clean
.DELETE_ON_ERROR:

env: $(STAMP)

$(UV):
	$(PYTHON) -m venv .venvs/uv
	.venvs/uv/bin/python -m pip install --quiet "uv>=0.5"

# The lock holds on the platform that it was compiled for.
IS_LOCKED := import sys, platform as p; \
    sys.exit((sys.version_info[:2], sys.platform, p.machine()) != ((3, 11), 'linux', 'x86_64'))

$(STAMP): $(INPUTS) | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	if $(BIN)/python -c "$(IS_LOCKED)"; then \
	    $(UV) pip install --quiet --python $(BIN)/python -r requirements/lock-py311.txt; \
	else \
	    $(UV) pip install --quiet --python $(BIN)/python -c requirements/known_good.txt \
	        -r requirements/tests.txt -e '.[lite]'; \
	fi
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -r requirements/mmagic.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

lock: | $(UV)
	$(UV) pip compile setup.py requirements/tests.txt --extra lite -c requirements/known_good.txt \
	    --python-version 3.11 --upgrade --no-annotate \
	    --custom-compile-command 'make lock' -o requirements/lock-py311.txt

clean:
	rm -rf .venv .venvs build *.egg-info

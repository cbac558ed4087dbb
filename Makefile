# make test      create .venv where it is missing, then lint, types, order of imports and quick tests
# make test-all  the tests that are slow, install the package anew, or need a browser
# make demo      digits -> encoder -> bank -> GAN -> metrics -> report
# make env       the environment alone
# make lock      compile requirements/lock-py311.txt anew
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
# PYTHON is what the user has; a missing one is an error, not a download.
export UV_PYTHON_DOWNLOADS ?= never
# Compiled once, not by each of the many processes that tests start.
export UV_COMPILE_BYTECODE ?= 1
# Small models: a second thread gains little, and on a shared machine the two wait for each other.
export OMP_NUM_THREADS ?= 1

.PHONY: env lint test test-all demo lock clean
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
	$(BIN)/lint-imports --no-logo

PYTEST := $(BIN)/pytest -n 2 --dist loadfile

test: lint
	$(PYTEST) -m 'not slow and not install and not browser'

test-all: $(STAMP)
	$(PYTEST) -m 'slow or install or browser'

# The encoder sees only the digits 0 to 4; the GAN learns 5 to 9 from 100 images.
ENCODER := --arch timm/resnet10t \
    --arch-kwargs '{"channels": [16, 32, 64, 128], "stem_width": 8}' --size 32 --no-flip \
    --batch-size 64 --lr 2e-3 --temperature 0.2 --epochs 20 --workers 2 \
    --color-jitter 0.8 --min-crop 0.5 --rotation 15 --shift 0.1
CONFIG := configs/disp_biggan_digits.py
RUN := work_dirs/demo

demo: $(STAMP)
	$(BIN)/python tools/dataset_converters/digits.py
	$(BIN)/python tools/pretrain_encoder.py data/digits data/digits/encoder.pth \
	    --ann-file source.txt $(ENCODER)
	$(BIN)/python tools/build_prior_bank.py $(CONFIG)
	$(BIN)/python tools/train.py $(CONFIG) --work-dir $(RUN) --resume
	$(BIN)/python tools/sample.py $(RUN) --out $(RUN)/samples --num 64
	$(BIN)/python benchmarks/digits.py agreement "$$(cat $(RUN)/last_checkpoint)" \
	    --out $(RUN)/class_agreement.json
	$(BIN)/python tools/evaluate.py $(RUN)
	$(BIN)/python tools/report.py $(RUN)
	@echo 'the picture: $(RUN)/samples_grid.png, the report: $(RUN)/report.html'

lock: | $(UV)
	$(UV) pip compile setup.py requirements/tests.txt --extra lite -c requirements/known_good.txt \
	    --python-version 3.11 --upgrade --no-annotate \
	    --custom-compile-command 'make lock' -o requirements/lock-py311.txt

clean:
	rm -rf .venv .venvs build *.egg-info

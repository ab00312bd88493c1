# One command each: `make demo`, `make test`, `make app`, `make lint`. Each makes .venv and installs what is missing;
# a second run installs nothing.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PIP := $(BIN)/python -m pip --disable-pip-version-check
INPUTS := pyproject.toml constraints.txt

.PHONY: demo test app lint clean

demo: $(VENV)/.base
	$(BIN)/erasure-console demo

# Two files at a time, the longest first, each on one core: two runs that both take every core hold each other up.
# Compiled modules are kept, for the tests start many processes. A worker that the native library takes down ends the
# run with the test's name; replaced, the run waited for it for ever.
test: $(VENV)/.full $(VENV)/.system
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python packaging/release_checks.py
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest \
		-n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0

app: $(VENV)/.full $(VENV)/.system
	$(BIN)/python -m console.gui

lint: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV)

$(VENV)/.made:
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed; set PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.base: $(VENV)/.made $(INPUTS)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

# Holds what .base holds, in one installation.
$(VENV)/.dev: $(VENV)/.made $(INPUTS)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(VENV)/.base $@

# llama.cpp is built from source, once, and portable: a native build crashes on some virtual machines.
$(VENV)/.full: $(VENV)/.dev
	$(BIN)/python packaging/install_llamacpp.py
	touch $@

# Libraries of the system that Qt needs; only where apt and the rights are there, else one sentence.
$(VENV)/.system: packaging/install_system_libraries.py | $(VENV)/.made
	$(BIN)/python packaging/install_system_libraries.py
	touch $@

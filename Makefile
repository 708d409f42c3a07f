# `make run` and `make test` set up what they need in a fresh clone with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= auto

.PHONY: help run test check bench crash wheel clean

help:
	@echo "make run     assess the example client configurations; reports go to build/assessment"
	@echo "make test    run the tests"
	@echo "make check   ruff, mypy, pyright, import floors"
	@echo "make bench   measure; BENCH=name measures one (BENCH='name --quick' with little work)"
	@echo "make crash   kill pipelines everywhere and judge what is left; ARGS='--help' tells how to narrow it"
	@echo "make wheel   build dist/*.whl"

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@touch $@

$(VENV)/.core: $(VENV)/.python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cel,http]'
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lint]'
	@touch $@

run: $(VENV)/.core
	$(BIN)/autocoder assess examples/clients --output build/assessment

test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/typing
	$(BIN)/lint-imports

# The peers live in an environment of their own, so that they never decide what the framework runs with; one by one, so that
# one which cannot be installed costs the others nothing.
$(VENV)-bench/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@$(VENV)-bench/bin/python -c "import tomllib; \
		print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['bench'], sep='\n')" | \
		while read -r peer; do \
			$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check "$$peer" || \
				echo "$$peer cannot be installed; it is shown as absent" >&2; \
		done
	@touch $@

bench: $(VENV)-bench/.ready
	$(VENV)-bench/bin/python -m tests.benchmarks $(BENCH)

crash: $(VENV)/.test
	$(BIN)/python -m tests.crash $(ARGS)

wheel: $(VENV)/.core
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) $(VENV)-bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

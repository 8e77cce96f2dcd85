# Needs Python 3.11 or newer with pip and venv, nothing else: PostgreSQL and Redis come as wheels.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
ROW ?=
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/ready ## Run everything on this machine and let the example bot answer one message (ARGS=--once ends after it)
	@$(BIN)/waypost dev examples/*.yaml $(ARGS)

test: $(VENV)/ready ## Run the tests that need no cluster, against real PostgreSQL and Redis
	$(BIN)/pytest $(ARGS)

check: $(VENV)/ready ## Lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/bench-ready ## Measure against a bare server, plain RQ and what a newcomer would build (ROW=acks: one row)
	$(BIN)/python -m benchmarks $(ROW) $(ARGS)

$(VENV)/bench-ready: $(VENV)/ready benchmarks/requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r benchmarks/requirements.lock
	@touch $@

# With the oldest Python that is to work (Debian's 3.11.2): a newer one leaves out what only older ones need.
lock: $(VENV)/ready ## Pin the newest fitting versions of all dependencies again
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --extra dev --strip-extras --no-emit-index-url \
		--no-emit-find-links --allow-unsafe --no-header --output-file requirements.lock pyproject.toml

clean: ## Remove the environment and the demo's data
	rm -rf $(VENV) .waypost

venv: $(VENV)/ready ## Make the environment in .venv

$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo "Installing into $(VENV) (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: help demo test check bench lock clean venv

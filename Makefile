# Needs Python 3.11 or newer with pip and venv, nothing else: PostgreSQL and Redis come as wheels.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
ROW ?=
IMAGE ?= waypost:0.1.0
BASE_IMAGE ?= python:3.13-slim
# Of BASE_IMAGE: the wheels are for it, not for the Python that runs here.
IMAGE_PYTHON ?= 3.13
.DEFAULT_GOAL := help

# Before anything that needs it.
FITTING_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 …" >&2; exit 1; }

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/ready ## Run everything on this machine and let the example bot answer one message (ARGS=--once ends after it)
	@$(BIN)/waypost dev examples/*.yaml $(ARGS)

test: $(VENV)/ready ## Run the tests that need no cluster, against real PostgreSQL and Redis
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --ignore tests/cluster --ignore tests/e2e $(ARGS)

check: $(VENV)/ready check-chart ## Lint, format, types, layers, and the chart
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck .ci/run tools/offline/node-image/files/usr/local/bin/*

check-chart: $(VENV)/ready ## Lint, render and validate the chart under each of its values, and run its suites (helm or Go)
	@$(BIN)/python -m tests.chart.check

tools: $(VENV)/ready ## Build what `make check` needs and PATH has not (helm, kubeconform, helm-unittest; with Go)
	@$(BIN)/python -m tools.offline.binaries helm kubeconform helm-unittest

wheels: $(VENV)/ready requirements.image.lock ## Put what the image is made of into build/wheels (IMAGE_PYTHON=3.11: for another base)
	@rm -rf build/wheels build/lib build/bdist.*
	$(BIN)/pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
		--implementation cp --python-version $(IMAGE_PYTHON) $(foreach tag,manylinux_2_28 manylinux_2_17 manylinux2014, \
		--platform $(tag)_$(shell uname -m)) --requirement requirements.image.lock --dest build/wheels
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/wheels .

image: wheels ## Build the container image (BASE_IMAGE, IMAGE_PYTHON, IMAGE)
	docker build --build-arg BASE_IMAGE=$(BASE_IMAGE) --tag $(IMAGE) .

cluster: ## Make the cluster of `make up`, with nothing on it
	@$(FITTING_PYTHON)
	@$(PYTHON) -m tools.cluster.create

up: $(VENV)/ready ## Waypost on a kind cluster of this machine, with a simulated Meta, until the bot has answered
	@$(BIN)/python -m tools.cluster.up

down: ## Remove that cluster, and the Docker engine if `make up` started it; what was built stays
	@$(FITTING_PYTHON)
	@$(PYTHON) -m tools.cluster.down

clean-cache: ## The same, and remove what was built (~/.cache/waypost)
	@$(FITTING_PYTHON)
	@$(PYTHON) -m tools.cluster.down --cache

e2e: $(VENV)/ready ## Run the tests that need a cluster, on that one or on one of their own (KEEP=1 keeps it)
	@$(BIN)/python -m tools.cluster.e2e $(ARGS)

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
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
		--allow-unsafe --no-header --constraint requirements.lock --output-file requirements.image.lock \
		pyproject.toml requirements.image.in

clean: ## Remove the environment, the demo's data and what the image was made of
	rm -rf $(VENV) .waypost build

venv: $(VENV)/ready ## Make the environment in .venv

$(VENV)/ready: requirements.lock pyproject.toml
	@$(FITTING_PYTHON)
	@echo "Installing into $(VENV) (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -j 0 -x '/kubernetes/|/phonenumbers/(geo|carrier)data/' $(VENV)/lib
	@touch $@

.PHONY: help demo cluster up down clean-cache tools test e2e check check-chart wheels image bench lock clean venv

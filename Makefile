# Everything lives in .venv and build/. `make demo` and `make test` set up what is missing, and say so first.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin
SEED   ?= 1
RUNS   ?= 1000

.DEFAULT_GOAL := help
.PHONY: help setup engine tools demo check lint types contracts quick test integration e2e sim bench quotas fuzz proto fmt image clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.ready ## the virtual environment

$(VENV)/.ready: pyproject.toml scripts/setup-venv.sh
	@PYTHON=$(PYTHON) scripts/setup-venv.sh $(VENV)

engine: ## a container engine that answers: installed and started where there is none
	@scripts/setup-engine.sh

demo: setup engine ## the whole market on this machine, end to end
	@scripts/unpack-tools.sh docker-registry busybox-static
	@$(RUN)/provider demo $(DEMO)

check: setup ## the fast half: under a minute, no engine
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint types contracts quick

lint:
	@$(RUN)/ruff format --check .
	@$(RUN)/ruff check .
	@scripts/proto.sh --check

types:
	@$(RUN)/mypy

contracts:
	@$(RUN)/lint-imports

quick:
	@$(RUN)/pytest -q -n 2 -m "not docker" tests/unit tests/contract tests/sim tests/test_tidy.py tests/test_docs.py

test: setup engine tools ## everything: check, then integration and end to end on the real engine
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint types contracts
	@$(RUN)/pytest -q -n 3 --dist loadfile --ignore-glob='tests/integration/runtime/test_image*'
	@$(RUN)/pytest -q tests/integration/runtime/test_image*.py # alone: they count what the engine has

tools:
	@scripts/setup-tests.sh
	@scripts/unpack-tools.sh docker-registry busybox-static prometheus redis-server caddy postgresql nginx
	@scripts/unpack-engine.sh

sim: setup ## simulated markets: make sim SEED=7 RUNS=1000
	@$(RUN)/python -m provider.sim --seed $(SEED) --runs $(RUNS)

bench: setup engine ## figures, side by side with a baseline, into build/bench.json
	@scripts/unpack-tools.sh docker-registry busybox-static
	@$(RUN)/python -m tests.bench

quotas: setup ## volumes on a kernel with project quotas, in an emulated machine: two minutes
	@scripts/unpack-tools.sh qemu-system-x86 linux-image-cloud-amd64 xfsprogs busybox-static
	@$(RUN)/python -m tests.quota

fuzz: setup ## the manifest parser against a coverage-guided fuzzer, for FUZZ_SECONDS
	@$(RUN)/pip install -q atheris
	@$(RUN)/python -m tests.fuzz

proto: setup ## regenerate provider/rpc/v1 from proto/
	@scripts/proto.sh

fmt: setup ## format, and mend what can be mended
	@$(RUN)/ruff format .
	@$(RUN)/ruff check --fix .

image: ## the daemon as a container image
	docker build -t gpu-provider .

clean: ## remove what was built (not the container engine)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

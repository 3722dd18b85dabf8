# Every target says what it does: `make help`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo demo-kafka test faults lint format schemas bench bench-kafka clean

help: ## Show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## Show the main job: a prompt becomes a plan, runs, and is rebuilt from its log (makes its own environment)
	@$(BIN)/dynamicflow demo

demo-kafka: $(STAMP) ## Show the same on a real Kafka, without Docker: two workers, one killed in the middle (Java and Maven, or DYNAMICFLOW_BOOTSTRAP)
	@$(BIN)/python -m examples.kafka.demo

test: $(STAMP) ## Run every test
	$(BIN)/python -m pytest -n 2 --dist loadfile

faults: $(STAMP) ## Kill, freeze and cut off real Kafka workers and brokers, half an hour (FAULTS_SEED=N makes a failure again)
	$(BIN)/python -m pytest tests/faults_kafka -m faults -rP --show-capture=stdout --durations=0

lint: $(STAMP) ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p dynamicflow
	$(BIN)/mypy --explicit-package-bases tests benchmarks examples

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: $(STAMP) ## Regenerate docs/schemas and docs/asyncapi.json from the models
	$(BIN)/python -m tests.requests.make

bench: $(STAMP) ## Measure the workloads beside a bare SQLite loop (JSON=file: one line a workload)
	$(BIN)/python -m benchmarks $(if $(JSON),--json $(JSON))

bench-kafka: $(STAMP) ## Measure the workloads on a real Kafka beside a bare ping-pong (JSON=file: one line a workload)
	$(BIN)/python -m benchmarks.kafka $(if $(JSON),--json $(JSON))

clean: ## Remove the environment and caches
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info

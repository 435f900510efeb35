SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
STACK := $(PYTHON) -u -m deploy.local
TEST_STACK := $(STACK) --instance test
SOURCES := $(wildcard libs services tests tools deploy bench examples)
CHOICES := $(if $(FEED),MARKETDATA_FEED=$(FEED)) $(if $(SPEED),REPLAY_SPEED=$(SPEED)) \
  $(if $(SHARED_DATA),"SHARED_DATA=$$(realpath -ms -- "$$SHARED_DATA")")
LOCK := .local/uv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header
UV_VERSION := 0.13.8
# What hangs is ended then; tests/chaos/report.py says how long a run may take.
CHAOS_SECONDS := 2700

.PHONY: help up down status logs demo bench chaos chaos-short crashes reconcile backup restore topology fmt check lint test test-servers lock clean-data python servers

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

up: servers ## the whole stack on this machine (FEED=simulator|replay|live SPEED=10 SHARED_DATA=…)
	@$(STACK) up $(CHOICES)

down: python ## stop all of it
	@$(STACK) down

status: python ## what runs where, and is it ready
	@$(STACK) status

logs: python ## follow the logs (SERVICE=gateway for one)
	@$(STACK) logs $(SERVICE)

demo: python ## the whole story of an order against the running stack, step by step
	@$(PYTHON) -m tools.demo

bench: python ## latency, throughput and cost of an order on the running stack
	@$(PYTHON) -m bench

reconcile: python ## prove on the running stack that no order was lost, doubled or sent past a panic
	@$(PYTHON) -m tools.reconcile

backup: python ## copy what the running stack keeps, archived days apart, as of one moment, to backups/ (TO=…, ANEW=1)
	@$(PYTHON) -m tools.backup take $(if $(TO),--to "$$TO") $(if $(ANEW),--anew)

restore: servers ## put a backup in the place of what the stack has, with trading halted (FROM=backups/…)
	@$(PYTHON) -m tools.backup restore $(if $(FROM),"$$FROM",$(error FROM=backups/… says which backup))

chaos: $(if $(SCENARIO),servers,crashes) ## break the platform on purpose and prove that no order is lost or doubled (SEED=1 SCENARIO=1,7)
	@CHAOS=1 SEED=$(SEED) SCENARIO=$(SCENARIO) CHAOS_BEGAN=$(CHAOS_BEGAN) $(STACK) --instance chaos test \
	  timeout --signal=INT --kill-after=60 $$(( $(CHAOS_SECONDS) - $(if $(CHAOS_BEGAN),($$(date +%s) - $(CHAOS_BEGAN)),0) )) \
	  $(PYTHON) -m pytest -s -v tests/chaos

crashes: TELLING := test_each_contract_is_told_once_whenever_the_process_that_tells_it_dies
crashes: servers ## scenario 6 of it: a process that dies at every step, a broker that misbehaves
	$(eval CHAOS_BEGAN := $(shell date +%s))
	@mkdir -p .local/chaos
	@$(TEST_STACK) test timeout --signal=INT --kill-after=60 $(CHAOS_SECONDS) \
	  $(PYTHON) -m pytest --junitxml=.local/chaos/crashes.xml \
	  tests/common/test_crashes.py tests/services/trading/test_effects.py tests/services/trading/test_broker_deaths.py \
	  tests/services/trading/test_crashes.py tests/services/marketdata/test_settlement.py::$(TELLING)

topology: python ## write what is generated: the pages of topics, messages and settings, the table of holidays
	@$(PYTHON) -m libs.common.topology --write
	@$(PYTHON) -m tools.settings_page --write
	@$(PYTHON) -m tools.holidays --write

fmt: python ## format, and fix what can be fixed
	@$(PYTHON) -m ruff format $(SOURCES)
	@$(PYTHON) -m ruff check --fix $(SOURCES)

check: lint ## lint, types, imports and the tests that need no servers: a minute or two
	@$(PYTHON) -m pytest -m 'not servers and not e2e'

lint: python
	@$(PYTHON) -m ruff format --check $(SOURCES)
	@$(PYTHON) -m ruff check $(SOURCES)
	@$(PYTHON) -m mypy $(SOURCES)
	@.venv/bin/lint-imports

chaos-short: servers ## a short version of every scenario, as `make test` ends with (SCENARIO=1,7 for some)
	@SEED=$(SEED) SCENARIO=$(SCENARIO) $(STACK) --instance chaos test $(PYTHON) -m pytest tests/chaos

test: servers lint ## every test, then chaos-short, on servers of their own (a running stack is not disturbed; PYTEST=… for some)
	@$(TEST_STACK) test $(PYTHON) -m pytest $(or $(PYTEST),--ignore=tests/chaos)
	@$(if $(PYTEST),,$(MAKE) chaos-short)

test-servers: servers ## only the servers of `make test`, left running: for one test at a time
	@$(TEST_STACK) servers

lock: python ## compile the lock files from pyproject.toml: all of it, and what the image runs
	@[ -x .local/uv/bin/uv ] || { $(PYTHON) -m venv .local/uv && .local/uv/bin/pip install -q uv==$(UV_VERSION); }
	@$(LOCK) --extra dev pyproject.toml -o requirements.lock
	@$(LOCK) -c requirements.lock pyproject.toml -o deploy/requirements.lock

clean-data: python ## stop the stack and forget all that it stored
	@$(STACK) forget

python:
	@deploy/local/install.sh python

servers:
	@deploy/local/install.sh servers

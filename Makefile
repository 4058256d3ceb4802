# The two commands: `make up` and `make test`. All need Python 3.11 or newer and nothing else of the machine.
PYTHON ?= python3
SERVER := $(PYTHON) deploy/bootstrap.py server
DEV := $(PYTHON) deploy/bootstrap.py dev
.DEFAULT_GOAL := help
.PHONY: help up down reset status test check shots lock bench-read bench-agent bench-saturation bench-ingest bench-capacity bench-alerts bench-night test-servers chaos chaos-alerts

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile

up: ## install, start everything, print address and login; Ctrl-C stops it
	@$(SERVER) capacity.supervisor up

down: ## stop what `make up` started
	@$(SERVER) capacity.supervisor down

reset: ## delete database, keys and passwords, after a question (YES=1: without)
	@$(SERVER) capacity.supervisor reset

status: ## does it run, and where
	@$(SERVER) capacity.supervisor status

test: ## install what tests need, then check and all tests
	@$(PYTHON) deploy/debian_packages.py
	@$(DEV)
	@$(MAKE) --no-print-directory check
	@$(DEV) pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore=tests/test_architecture.py --ignore=tests/test_docs.py  # these two: make check

check: ## ruff, mypy, Django's checks, migrations
	@$(DEV) tests.check

shots: ## pictures of every page: wide, phone, dark
	@$(DEV) tests.browser.shots

lock: ## pin requirements/*.in again, with hashes
	@$(DEV) deploy.lock

bench-read: ## charts and pages beside Debian's Prometheus
	@$(DEV) bench.read

bench-ingest: ## the ingest door beside Prometheus remote write and a DRF door
	@$(DEV) bench.ingest --steady 10

bench-saturation: ## what limits a deployment, judged on five fresh planted fleets
	@$(DEV) bench.saturation

bench-capacity: ## forecasts, plans and sizing on real traces beside peers; FAST=1: few peers, WRITE=1: keeps the tables
	@$(DEV) bench.capacity $(if $(FAST),--fast) $(if $(WRITE),--write)

bench-night: ## forecasts and plans of 1,000 deployments (DEPLOYMENTS=n): a night and an hour on 2 processes; WRITE=1 keeps the table
	@$(DEV) bench.night $(if $(DEPLOYMENTS),--deployments $(DEPLOYMENTS)) $(if $(WRITE),--write)

bench-agent: ## CPU and memory of the agent on a fake NVML of 8 GPUs
	@$(DEV) bench.agent

bench-alerts: ## rounds of rules, the demo fleet's incidents, from a sample to its message
	@$(DEV) bench.alerts

test-servers: ## real model servers: Ray Serve, MLServer, TorchServe, MLflow too
	@$(DEV) pytest tests/servers --all-servers

chaos: ## kill -9 and outages, the full counts
	@$(DEV) pytest tests/chaos --ignore-glob='tests/chaos/test_alerts_*' tests/monitoring/test_agent_sender.py tests/monitoring/test_agent_spool.py --full

chaos-alerts: ## kill -9 of what evaluates and sends alerts, bad receivers, storms: the full counts; WRITE=1: also to docs/measured
	@$(DEV) pytest tests/chaos/test_alerts_*.py --full $(if $(WRITE),--write)

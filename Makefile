.DEFAULT_GOAL := help
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Some machines forbid compiled Python files; then each of the many starts of Ansible compiles all of it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## Make the virtual environment and the collection path
	@.config/setup

.PHONY: setup-lab
setup-lab:
	@.config/setup --system

.PHONY: lab
lab: setup-lab ## Build the small platform on EC2 on one machine, write and read through it
	@$(if $(findstring control,$(TIERS)),.config/setup --builds && python -m lab.builds kubernetes-1.37)
	@lab up
	@eval "$$(lab env)" && ansible-playbook playbooks/provision.yml && ansible-playbook playbooks/site.yml && python -m lab.endpoints

.PHONY: lab-down
lab-down: ## Remove the lab and everything it made
	@.config/setup && lab down

.PHONY: test
test: ## Everything that CI runs
	@.config/setup --builds && python tests/run.py

.PHONY: test-unit
test-unit: setup ## Unit tests
	@python tests/run.py unit

.PHONY: test-aws
test-aws: setup-lab ## Modules and lab against the lab's AWS
	@python tests/run.py aws

.PHONY: test-role
test-role: setup-lab ## One role on lab hosts: make test-role ROLE=etcd
	@$(if $(filter containerd kubernetes%,$(ROLE)),.config/setup --builds)
	@python tests/run.py $(if $(ROLE),role:$(ROLE),roles)

.PHONY: test-platform
test-platform: setup-lab ## The whole small platform with faults
	@python tests/run.py platform

.PHONY: test-faults
test-faults: ## The long fault matrix and the conformance suite; results go to docs/
	@.config/setup --builds && python tests/run.py faults

.PHONY: lint
lint: setup ## Linters, and the check that docs, specs and defaults agree
	@python tests/run.py lint

.PHONY: docs
docs: setup ## Write the generated reference in docs/
	@python docs/generate.py

.PHONY: bench
bench: setup-lab ## Measure against the anchors; results go to bench/results/
	@python bench/run.py

.PHONY: build
build: setup ## Build the collection artifact
	@ansible-galaxy collection build --force --output-path .cache

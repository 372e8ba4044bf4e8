# Two commands do all on a fresh machine with Python 3.11 or 3.12, g++ and make:
# `make quickstart` and `make test`. Both install first; that takes no time when nothing changed.
# Tests and what else a developer needs bring their tools.

EXTRA ?= $(if $(wildcard .venv/.installed-gpu),gpu,cpu)
PYTHON ?=
BIN := .venv/bin
INSTALLED := .venv/.installed-$(EXTRA)
WITH_TOOLS := .venv/.tools-$(EXTRA)

# Two runs of pytest side by side, the second told of when both are over.
side_by_side = log="$$(mktemp)"; trap 'rm -f "$$log"' EXIT; \
	$(BIN)/pytest $(2) > "$$log" 2>&1 & others=$$!; \
	$(BIN)/pytest $(1); status=$$?; \
	wait $$others || status=$$?; \
	cat "$$log"; exit $$status

.DEFAULT_GOAL := help
.PHONY: help install quickstart study test test-fast test-faults test-hosts lint format format-check types clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  EXTRA=gpu installs TensorFlow with CUDA; PYTHON=/path/to/python3.12 names a Python."
	@echo "  make quickstart NAME=second runs it again under another name."

install: $(INSTALLED) ## Install what searches need into .venv

# The stamp is written last, so an installation that was cut short goes on the next time.
# With the developer's tools there is all that is there without them.
$(WITH_TOOLS): TOOLS := --tools
$(INSTALLED) $(WITH_TOOLS): pyproject.toml uv.lock $(wildcard horovod_headers/*)
	@for python in $(PYTHON) python3.11 python3.12 python3 python; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null; then \
	        "$$python" scripts/install.py --extra "$(EXTRA)" --python "$(PYTHON)" $(TOOLS) || exit 1; \
	        rm -f .venv/.installed-* .venv/.tools-*; touch $(INSTALLED) $@; exit 0; \
	    fi; \
	done; \
	echo "Error: Python 3.11 or 3.12 is needed and was not found: install it with" \
	    "\`apt install python3 python3-venv\` (Debian 12, Ubuntu 24.04) or" \
	    "\`dnf install python3.12\` (Fedora, RHEL)." >&2; exit 1

quickstart: install ## Install, then search on the sample of simulated jets
	$(BIN)/ucluster-tune run search_spaces/quickstart.yaml $(if $(NAME),--name $(NAME))
	$(BIN)/ucluster-tune confirm $(or $(NAME),quickstart) --top 1 --seeds 1 --workers 2 --jets 2400

# Whatever stopped it, it goes on from there.
study: install ## The study of the sample, over an hour: search, then the best three confirmed with five seeds
	@test -e studies/study/record.jsonl || $(BIN)/ucluster-tune run search_spaces/study.yaml
	@$(BIN)/ucluster-tune status study --json | grep -q '"state": "complete"' || $(BIN)/ucluster-tune resume study
	$(BIN)/ucluster-tune confirm study --top 3 --seeds 5 --jets 6400
	$(BIN)/ucluster-tune report study --gallery docs/study

# Two searches at a time would wait for each other's CPUs, so all that start Ray are one process's.
test: $(WITH_TOOLS) ## Install, then run the tests, all but those of faults and of hosts
	@echo "Beside these run the tests that start no Ray; what they print comes at the end."
	@$(call side_by_side, -m "cluster and not faults and not hosts", \
	    -m "not cluster and not faults and not hosts")

test-fast: $(WITH_TOOLS) ## Install, then run those of seconds that start no Ray
	$(BIN)/pytest -m "not cluster and not faults and not hosts and not slow"

# Searches that wait, for a driver's death to be noticed and the like, leave CPUs to others.
test-faults: $(WITH_TOOLS) ## Kill, stop and resume searches in all ways
	@echo "Beside these run those that type commands; what they print comes at the end."
	@$(call side_by_side, -m faults --ignore=tests/cli --ignore=tests/cluster, \
	    -m faults tests/cli tests/cluster)

test-hosts: $(WITH_TOOLS) ## A search on a cluster of three hosts in namespaces, as root (4 minutes on 2 cores)
	$(BIN)/pytest -m hosts

lint: $(WITH_TOOLS) ## Look for mistakes in the code
	$(BIN)/ruff check

format: $(WITH_TOOLS) ## Format the code
	$(BIN)/ruff format

format-check: $(WITH_TOOLS) ## Check that the code is formatted
	$(BIN)/ruff format --check

types: $(WITH_TOOLS) ## Check the types
	$(BIN)/mypy

clean: ## Remove what was installed and cached; studies stay
	rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything starts from a clean clone and a Python from 3.11 to 3.13; `make help` lists the targets.
# Results are written to runs/ (or `storage:` of a sweep file) and no target here removes them.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PYTEST := $(PY) -m pytest
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup quickstart test lint slow slow-part faults browser gpu nightly bench docs site screenshots clean distclean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-11s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## .venv with everything in it; again only when pyproject.toml or constraints.txt changed

# The stamp is written last, so an interrupted installation is taken up again. An environment whose Python is gone or
# unsuitable (moved folder, upgraded system) is made anew.
$(STAMP): pyproject.toml constraints.txt
	@if ! $(PY) -c 'import sys, pip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; then \
		python=$$(PYTHON='$(PYTHON)' sh .ci/find_python) || exit 1; \
		echo "making $(VENV) with $$python"; \
		"$$python" -m venv --clear $(VENV); \
	fi
	@echo "installing the pinned packages into $(VENV) (the first time takes some minutes)"
	@$(PY) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: $(STAMP) ## a small sweep on this machine, no download and no GPU needed: a few minutes to a report
	$(VENV)/bin/unlearn-sweep run sweeps/quickstart.yaml

lint: $(STAMP) ## ruff and pyright
	$(PY) -m ruff check .
	$(PY) -m pyright

test: $(STAMP) ## lint, types and the short tests: what runs on every change
	$(PY) -m ruff check .
	$(PY) -m pyright
	$(PYTEST) -q

slow: $(STAMP) ## the tests that start Ray or take long; writes how long each file took to tests/slow_seconds.json
	$(PYTEST) -p tests.support.slow_parts -q -m 'slow and not gpu' --record

PART ?= 1/10
BUDGET_S ?= 600
slow-part: $(STAMP) ## one part of them (PART=3/10), no test begun after BUDGET_S seconds
	$(PYTEST) -p tests.support.slow_parts -q -m 'slow and not gpu' --part $(PART) --budget-s $(BUDGET_S) --durations=10

faults: $(STAMP) ## the tests that kill processes and check that nothing is lost
	$(PYTEST) -q -m faults

browser: $(STAMP) ## the tests that open report, live page, MLflow, Ray's dashboard and docs in Chromium; skipped where there is none
	$(PYTEST) -q -m browser

gpu: $(STAMP) ## checks of a GPU beside the plain way of each (tiny and on the CPU where there is none), then the tests that need one
	$(PY) bench/gpu_checks.py
	@$(PYTEST) -q -m gpu; status=$$?; \
	if [ $$status -eq 5 ]; then echo "no test needs a CUDA device"; else exit $$status; fi

nightly: $(STAMP) ## a real pretrained model end to end: 100 MB, an hour or more (bench/real_model.py)
	@$(PY) -m pip install --quiet -c constraints.txt gguf
	$(PYTEST) -q -s -m nightly

bench: $(STAMP) ## speed against the plain way, as ratios measured on this machine
	@for script in bench/[a-z]*.py; do [ "$$script" != bench/real_model.py ] || continue; echo "== $$script"; $(PY) "$$script" || exit 1; done

docs: $(STAMP) ## the generated pages of docs/
	@$(PY) -m unlearn_sweep.methods.catalog_page > docs/.page && mv docs/.page docs/methods.md
	@$(PY) -m unlearn_sweep.evaluators.attacks.reference_page > docs/.page && mv docs/.page docs/attacks.md
	@$(PY) -m unlearn_sweep.evaluators.metrics_page > docs/.page && mv docs/.page docs/metrics.md
	@$(PY) -m unlearn_sweep.evaluators.benchmarks.reference_page > docs/.page && mv docs/.page docs/benchmarks.md
	@$(PY) -m unlearn_sweep.sweeps.command_page > docs/.page && mv docs/.page docs/commands.md
	@$(PY) -m tests.support.architecture_page > docs/.page && mv docs/.page docs/models.md
	@echo "docs/methods.md, docs/attacks.md, docs/metrics.md, docs/benchmarks.md, docs/commands.md and docs/models.md are up to date"

site: $(STAMP) ## the documentation as a site in site/, which opens without a network
	@$(PY) -m sphinx --quiet --fail-on-warning --keep-going -b html docs site
	@echo "open site/index.html"

screenshots: quickstart ## the pictures of docs/images, from the quickstart, its views and a live sweep in Chromium
	$(PY) -m tests.support.screenshots runs/quickstart docs/images

clean: ## caches and build leftovers; runs/ and .venv stay
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis
	find sweeps engine methods evaluators tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## the same and .venv
	rm -rf $(VENV) *.egg-info

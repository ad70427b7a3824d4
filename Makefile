# `make demo` shows the node at work, `make test` proves it; both start from a fresh checkout.
PYTHON ?= python3.11
VENV := .venv
PIP := $(VENV)/bin/pip
PACKAGES := dicom_node inference workflows
SERVICES := orthanc orthanc-dicomweb dcmtk dicom3tools faketime rabbitmq-server postgresql docker-compose chromium rsyslog rsyslog-gnutls $(if $(shell command -v npm),,npm)
# Unit tests with none of these markers need nothing but the checkout (tests/unit/conftest.py).
HERMETIC := not service and not shared_data and not slow
MODEL := $(addprefix tests/unit/inference/,medseg_r medseg_qa training evaluation test_cli.py)
FUZZERS := headers pixels
ASSETS := workflows/web/assets
VENDOR := workflows/web/static/vendor
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/pytest

DEMO_CT := $(VENV)/demo/totalsegmentator-2.18.0.tar.gz

.DEFAULT_GOAL := help
.PHONY: help demo fast test code check lint documents corpus bench gpu fuzz soak install services web-assets clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.node $(DEMO_CT)  ## send real studies through a whole node on this machine and show what comes back
	$(VENV)/bin/medseg-node demo

fast: $(VENV)/.dev  ## the tests that need nothing but the checkout, in about three minutes on two cores
	$(PYTEST) -n 2 --dist worksteal -m "$(HERMETIC)" tests/unit $(addprefix --ignore ,tests/unit/docs $(MODEL))

test: documents code  ## install what the other tests need, then run all of them

code: $(VENV)/.dev $(DEMO_CT) services $(VENDOR)/niivue.js fast
	$(PYTEST) -n 2 --dist worksteal -m "not ($(HERMETIC))" tests/unit
	$(VENV)/bin/pytest -m "not soak" tests/integration tests/e2e

check: lint documents  ## style, types, who imports whom, and that the documents are true

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict $(addprefix --package ,$(PACKAGES))
	$(VENV)/bin/lint-imports

documents: $(VENV)/.dev
	$(VENV)/bin/pytest tests/unit/docs

bench: $(VENV)/.dev services $(VENDOR)/niivue.js  ## measure, C-STORE beside Orthanc and storescp, a full database, MedSeg-R beside the way LISA runs and U-Nets
	$(VENV)/bin/python -m tests.bench.cstore
	$(VENV)/bin/python -m tests.bench.delivery
	$(VENV)/bin/python -m tests.bench.state
	$(VENV)/bin/python -m tests.bench.worklist
	$(VENV)/bin/python -m tests.bench.replay
	$(VENV)/bin/python tests/bench/medseg_r.py
	$(VENV)/bin/python tests/bench/masks.py
	$(VENV)/bin/python -m tests.bench.volumes
	$(VENV)/bin/python -m tests.bench.results
	$(VENV)/bin/python -m tests.bench.showing --browser
	$(VENV)/bin/python -m tests.bench.planes
	$(VENV)/bin/python -m tests.bench.rules

gpu: $(VENV)/.dev  ## eight minutes on a GPU: answers beside the CPU's, speed, the ladder where memory is short, training
	test -f runs/gpu/images.npz || $(VENV)/bin/python -m tests.bench.gpu pack
	$(VENV)/bin/python -m tests.bench.gpu run

corpus: $(VENV)/.dev  ## ask about every series and file of ../shared (half an hour); writes docs/corpus.md and CONFORMANCE.md's table
	$(VENV)/bin/python -m tests.corpus --out tests/corpus/after.jsonl
	$(VENV)/bin/python -m tests.corpus --compare tests/corpus/before.jsonl tests/corpus/after.jsonl > docs/corpus.md
	$(VENV)/bin/python -m tests.corpus --table

soak: $(VENV)/.dev services  ## the whole crash matrix on both databases, and 10,000 instances with random kills (an hour); writes docs/reliability.md
	$(VENV)/bin/pytest -m soak tests/integration
	$(VENV)/bin/python -m tests.crash matrix --out tests/crash/matrix.jsonl
	$(VENV)/bin/python -m tests.crash soak --out tests/crash/soak.jsonl
	$(VENV)/bin/python -m tests.crash.page

fuzz: $(VENV)/.dev  ## spoil data sets and pixels for a minute each, and stop at the first error that is no refusal
	for fuzzer in $(FUZZERS); do $(VENV)/bin/python -m tests.fuzz.$$fuzzer $(FUZZ_S) || exit 1; done

install: $(VENV)/.node  ## the node alone, in .venv

web-assets: $(VENDOR)/niivue.js  ## scripts of others that three planes and drawing need, by npm from their lockfile

# npm comes with `services` on Debian; --ignore-scripts: nothing of what is fetched runs.
$(VENDOR)/niivue.js: $(addprefix $(ASSETS)/,package.json package-lock.json copy.mjs niivue-licence.txt)
	@command -v npm >/dev/null || { echo "npm is not there: install Debian's npm, or Node.js" >&2; exit 1; }
	cd $(ASSETS) && npm ci --ignore-scripts --no-audit --no-fund
	node $(ASSETS)/copy.mjs
	rm -rf $(ASSETS)/node_modules

services:  ## Debian's packages that the tests talk to; nothing of them is started
	@.ci/debian-packages $(SERVICES)

clean:  ## remove the environment and what tools left behind
	rm -rf $(VENV) $(VENDOR) $(ASSETS)/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/debian-packages python3.11-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.node: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV): a few minutes the first time"
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -e '.[web]'
	@touch $@

# A real CT for the demo, in the source archive of a package that is not installed; without it the demo shows an MR.
$(DEMO_CT): deploy/demo/images.txt | $(VENV)/bin/python
	@echo "fetching the demo's CT (38 MB)"
	-$(PIP) download --quiet --disable-pip-version-check --no-deps --no-binary totalsegmentator -d $(@D) -r $<

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV): a few minutes the first time"
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,qa,train,web]'
	@touch $@ $(VENV)/.node

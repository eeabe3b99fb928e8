# Two commands for a fresh machine: `make demo` and `make test`. Needs Python 3.11 to 3.13 and make.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin

# Real data and weights beside the checkout are used where they exist; without them those tests skip and say so.
ifneq ($(wildcard ../shared/data),)
PARIBUS_DATA ?= $(abspath ../shared/data)
export PARIBUS_DATA
endif
ifneq ($(wildcard ../shared/weights),)
PARIBUS_WEIGHTS ?= $(abspath ../shared/weights)
export PARIBUS_WEIGHTS
endif
PARIBUS_CACHE ?= $(abspath .cache)
export PARIBUS_CACHE

# How many made-up reports tests/test_reports_random.py reads.
PARIBUS_REPORTS ?= 200
export PARIBUS_REPORTS

KERNELS := $(wildcard src/paribus/engines/native/kernels/*) src/paribus/engines/native/build.py

.PHONY: help kernels demo test docs lint types pytest snapshots public-failure engines-agree bench clean

help:
	@echo "make demo    install into .venv, run the experiment lenet-digits, print where the report is"
	@echo "make test    install into .venv, check style and types, run every test"
	@echo "make docs    build the documentation into site/"

# After a change of the native engine's kernels.
kernels: .venv/installed
	$(BIN)/python src/paribus/engines/native/build.py

demo: .venv/installed
	$(BIN)/paribus run lenet-digits

test: lint types pytest

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed
	$(BIN)/mypy

pytest: .venv/installed
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

snapshots: .venv/installed
	$(BIN)/python tests/test_surface.py > tests/snapshots/cli.txt

# Experiments on photos, which are not ours to pass on.
PHOTOS := dogs-vs-cats sign-digits sign-digits-people

# The documentation as a site; `python -m http.server --directory site` lets its search work too.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "documentation: site/index.html"

# One shipped experiment at its real size, kept as a page: make gallery-lenet-mnist SETTINGS='--set experiment.seeds=2'
gallery-%: .venv/installed
	$(BIN)/paribus run $* $(SETTINGS)
	$(call keep,$*)
	$(BIN)/python tests/test_docs.py

# The five experiments of the assignment at their real size, each kept as a page, and the document that is made of them.
gallery-assignment: .venv/installed
	$(BIN)/paribus assignment
	$(foreach name,lenet-mnist lenet-dhcd $(PHOTOS),$(call keep,$(name)) &&) true
	$(BIN)/python tests/test_docs.py

keep = rm -rf docs/gallery/$(1) && mkdir -p docs/gallery/$(1) && \
  ( cd results/$(1) && cp -r experiment.toml environment.json verdicts.json report.md figures $(CURDIR)/docs/gallery/$(1) && \
  if test -f sessions.jsonl; then cp sessions.jsonl $(CURDIR)/docs/gallery/$(1); fi ) \
  $(if $(filter $(1),$(PHOTOS)),&& ( cd docs/gallery/$(1) && rm -f figures/error-*.png && \
  sed -i 's/!\[[^]]*\](figures\/error-[0-9]*\.png)<br>//g' report.md ))

# The published solution with its mistakes, whole: docs/public-failure.md is made from it.
public-failure: .venv/installed
	$(BIN)/paribus run examples/public-failure/experiment.toml
	cp results/public-failure/verdicts.json examples/public-failure/
	$(BIN)/python tests/test_public_failure.py

# Whether the native engine and torch train the same networks: some minutes.
engines-agree: .venv/installed
	$(BIN)/paribus run benchmarks/engines-agree/experiment.toml
	rm -rf benchmarks/engines-agree/figures
	cd results/engines-agree && cp -r environment.json verdicts.json report.md figures $(CURDIR)/benchmarks/engines-agree

# Beside this package's own ways to train: .venv/bin/python -m pip install -r benchmarks/engine/peers.txt
bench: .venv/installed
	$(BIN)/python benchmarks/engine/approximations.py
	$(BIN)/python benchmarks/engine/epoch.py
	$(BIN)/python benchmarks/engine/roofline.py
	$(BIN)/python benchmarks/engine/together.py
	$(BIN)/python benchmarks/launch/launch.py
	$(BIN)/python benchmarks/loader/loader.py
	$(BIN)/python benchmarks/predict/predict.py
	$(BIN)/python benchmarks/transfer/transfer.py

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt hatch_build.py $(KERNELS)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11 to 3.13 is needed, but $(PYTHON) is another. Say which: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# `make demo` trains the shipped model, `make test` runs the tests, `make docs-check` the commands of the pages; each makes .venv on first
# use. `make torture` kills, stops and
# starves runs for hours and writes what came of it to benchmarks/results/torture; it ends with many times the hostile input.
PYTHON ?= python3
BIN := .venv/bin
TORCH := torch>=2.13,<2.14

.PHONY: demo test docs-check torture clean

demo: .venv/installed
	$(BIN)/python -m learner.main

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

docs-check: .venv/installed-dev
	$(BIN)/python -m pytest tests/end_to_end/docs_check.py

torture: .venv/installed-dev
	$(BIN)/python -m benchmarks.torture --out benchmarks/results/torture
	HYPOTHESIS_PROFILE=torture $(BIN)/python -m pytest -k hostile

clean:
	rm -rf .venv *.egg-info .pytest_cache

# torch goes first and bounded: asked for by another package, pip may take another build of it than the one configured here.
.venv/torch:
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 10) <= sys.version_info < (3, 13) else "Python 3.10, 3.11 or 3.12 is needed, found " + sys.version.split()[0] + "; try: make PYTHON=python3.11 demo")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "$(TORCH)"
	@touch $@

.venv/installed: .venv/torch pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

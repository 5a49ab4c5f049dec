# Two commands do all the set-up: `make demo` and `make test`. Both build .venv first, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := $(shell sed -n 's/^torch==\(.*\)$$/torch==\1/p' constraints.txt)
DEMO := runs/demo
TRUTH := runs/truth

export OMP_NUM_THREADS ?= 1

.PHONY: help venv demo test lint figures clean

help:
	@echo "make demo   set up, make clips with the reference model, score them, write a report (about 5 minutes)"
	@echo "make test   set up, run the tests (under 10 minutes on 2 cores)"
	@echo "make lint   set up, ruff, mypy and import-linter"
	@echo "make venv   only set up: .venv with evalkit and everything that the tests need"
	@echo "make clean  delete .venv, runs and build output"

venv: $(STAMP)

# torch comes first and by its exact version: a resolver that meets a range may pick a build for other hardware.
$(STAMP): pyproject.toml constraints.txt
	@echo "== Setting up $(VENV) (once; downloads about 1 GB)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "evalkit needs Python 3.11 or newer; run: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@echo "== Installing $(TORCH)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@echo "== Installing evalkit, its extras and its test tools"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[conse,cuts,transformers,server,postgres,ray,remote,provenance,watermark,safety]' --group dev
	@touch $(STAMP)

demo: venv
	@echo "== The rendered truth of 12 prompts of prompts/core.yaml: what the set metrics compare with"
	@$(BIN)/evalkit generate --suite core --model world --limit 12 --out $(TRUTH)
	@echo "== The reference model makes clips for the same prompts; evalkit scores them and writes the report"
	@$(BIN)/evalkit run --suite core --model reference --limit 12 --reference $(TRUTH) --out $(DEMO)

test: venv
	@echo "== Tests; what this machine lacks (a browser, PostgreSQL) is skipped with the reason"
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

clean:
	rm -rf $(VENV) runs dist build

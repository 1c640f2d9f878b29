# The first target that needs it builds .venv, once; after that a target starts at once.
# Another Python, 3.11 or newer:  make PYTHON=python3.12 demo

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
LOOSE := --no-warn-unused-ignores $(addprefix --disable-error-code=,arg-type assignment method-assign misc \
    no-any-return no-untyped-call type-arg var-annotated)

.PHONY: help demo test tour test-faults test-mutants test-slow test-lowest test-speed gpu check clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## a small stream, a few strategies, a report: minutes on a CPU, no download
	$(BIN)/cl run configs/run/demo.yaml
	@echo "Open runs/demo/report.html in a browser."

test: $(INSTALLED)  ## the tests, without what is marked slow; about 10 minutes on two cores
	$(BIN)/pytest -m "not slow" -n auto --maxprocesses 4 --dist loadgroup tests

tour: $(INSTALLED)  ## the notebooks, and the path of a new user from a CSV file to a model in use; 3 minutes
	$(BIN)/pytest -n auto --maxprocesses 4 --nbmake notebooks tests/end_to_end/test_new_user.py

test-faults: $(INSTALLED)  ## kills runs dozens of times and resumes them; about 20 minutes
	$(BIN)/pytest -m "faults" tests/faults

test-mutants: $(INSTALLED)  ## makes 390 small wrong changes, one at a time: a test must notice; 25 quiet minutes on two cores
	$(BIN)/python -W ignore tests/mutants/run.py

test-slow: $(INSTALLED)  ## every pair of plugins on every stream, which `make test` samples; about 10 minutes
	$(BIN)/pytest -m "slow and not faults" -n auto --maxprocesses 4 tests

test-lowest: $(INSTALLED)  ## the tests with the oldest libraries that pyproject.toml allows, in .venv-lowest
	$(PYTHON) -m venv .venv-lowest
	@mkdir -p build
	$(BIN)/python tests/lowest.py > build/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c build/lowest.txt -e '.[test]'
	.venv-lowest/bin/pytest -m "not slow" -n auto --maxprocesses 4 --dist loadgroup tests

test-speed: $(INSTALLED)  ## ratios to other frameworks against floors: BACKBONE=folder, CL_DATA=folder; 12 quiet minutes
	@test -d '$(BACKBONE)' || { echo "Name the folder of a BERT-like encoder: make test-speed BACKBONE=path" >&2; exit 1; }
	$(BIN)/python experiments/speed/bench.py --backbone '$(BACKBONE)' --quick --rounds 1 --out runs/speed.json
	$(BIN)/python experiments/speed/check.py runs/speed.json

gpu:  ## tests and speed on one GPU, 8 minutes, into experiments/gpu; DRY=1 tries it in small on the CPU
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) experiments/gpu/run.py $(if $(DRY),--dry --out build/gpu)

check: $(INSTALLED)  ## style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@# Scripts outside the package may be looser, but what they use of it must be there.
	cd experiments/speed && MYPYPATH=../..:. ../../$(BIN)/mypy --config-file ../../pyproject.toml $(LOOSE) *.py
	cd experiments/gpu && MYPYPATH=../..:. ../../$(BIN)/mypy --config-file ../../pyproject.toml $(LOOSE) *.py
	cd tests/faults && MYPYPATH=../.. ../../$(BIN)/mypy --config-file ../../pyproject.toml $(LOOSE) deadly.py
	cd experiments/exactness && MYPYPATH=../.. ../../$(BIN)/mypy --config-file ../../pyproject.toml $(LOOSE) *.py
	$(BIN)/lint-imports

clean:  ## remove what make made; your runs stay
	rm -rf .venv .venv-lowest build *.egg-info runs/demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "This needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)" >&2; \
	    echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Installing into .venv, once; torch is large."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

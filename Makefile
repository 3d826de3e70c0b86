# Each target sets up .venv by itself: anew when it is missing, broken or half installed, in place when
# pyproject.toml or constraints.txt is newer.
PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed

# Nothing here needs a model hub.
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(STAMP) ## scan a small pretrained model: findings here, report in build/demo.html
	@mkdir -p build
	@$(BIN)/regard scan --out build/demo.html --json build/demo.json

test: $(STAMP) ## run the tests; ARGS="-k sink" passes options to pytest
	$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

lint: $(STAMP) ## check style, types and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## time the core against plain attention
	@$(BIN)/regard bench core

docs: $(STAMP) ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove all that make has made, .venv included
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# The stamp is written last, so an interrupted installation leaves none, and the next one starts from an empty .venv.
$(STAMP): pyproject.toml constraints.txt
	@if [ -e $@ ] && $(BIN)/python -m pip --version >/dev/null 2>&1; \
	then rm $@; else $(PYTHON) -m venv --clear .venv; fi
	@echo "installing into .venv (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# A .venv whose Python does not start counts as missing.
ifneq ($(shell $(BIN)/python -c 'print("starts")' 2>/dev/null),starts)
.PHONY: $(STAMP)
endif

# make compare: set up, train every family on real digits, measure, write reports/table1/index.html
# make test:    set up, lint, types, tests
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: compare quick test lint types browser clean

compare: $(READY)
	$(BIN)/zoo compare

quick: $(READY)
	$(BIN)/zoo compare --quick

test: lint types browser
	$(BIN)/pytest -n auto

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy zoo models guides evaluations

# The report's page is tested in a real browser: CI brings Debian's, a person's machine is left as it is.
browser:
	@if [ "$$CI" = true ] && ! command -v chromium >/dev/null && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; fi

# Made anew only when what goes into it has changed.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

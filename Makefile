# make compare: set up, train every family on real digits, measure, write reports/table1/index.html
# make test:    set up, lint, and the tests that take less than about a second each
# make thorough: all else that CI runs: types, longer tests, newcomers' walks, the page in a browser, the documentation
# make docs:    build the documentation into site/; a broken link fails
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: compare quick test thorough lint types docs browser clean

compare: $(READY)
	$(BIN)/zoo compare

quick: $(READY)
	$(BIN)/zoo compare --quick

test: lint
	$(BIN)/pytest -n auto --dist worksteal

thorough: types docs browser
	$(BIN)/pytest -n auto -m process
	$(BIN)/pytest -n auto --dist worksteal -m 'thorough and not slow and not process'

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy zoo models guides evaluations

docs: $(READY)
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "open site/index.html; for search: python3 -m http.server --directory site"

# Tests open the report in a real browser. CI installs one; on other machines nothing is installed.
browser:
	@if [ "$$CI" = true ] && ! command -v chromium >/dev/null && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; fi

# Reinstalled only when the dependencies have changed.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache

# The five commands of a developer. `make test` runs the default tier, as the README's second command does.
PYTHON ?= .venv/bin/python

.PHONY: install test check docs build

install:  ## an environment with everything but a browser
	python3 -m venv .venv
	.venv/bin/pip install -q -c constraints.txt -e '.[dev]' pre-commit
	.venv/bin/pre-commit install

test:  ## minutes; `make test ARGS="-m slow"` for the long tier
	$(PYTHON) -m pytest --durations=20 $(ARGS)

check:  ## style, then types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ty check

docs:  ## pages of results, then the site in build/site; warnings are errors
	$(PYTHON) demos/docs/results.py
	$(PYTHON) -m mkdocs build --strict -f demos/docs/mkdocs.yml

build:  ## wheel and sdist in dist/
	$(PYTHON) -m build

# Two commands on a fresh machine: `make grade` and `make test`; each sets everything up first.
# TORCH=cpu installs the CPU build of torch, which is some 5 GB smaller.

export PATH := $(CURDIR)/.venv/bin:$(PATH)
PYTHON ?= python3
TORCH ?=
READY := .venv/.ready

.PHONY: help setup grade test lab build solutions lock clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(READY)  ## Install everything into .venv

$(READY): requirements.lock pyproject.toml scripts/setup
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" scripts/setup
	@touch $@

grade: $(READY)  ## Grade the example submissions into results/examples
	@autograder grade examples/submissions --out results/examples --force

test: $(READY)  ## Run every test: style, types, lessons, mutants, the sandbox
	@python -m pytest

lab: $(READY)  ## Open JupyterLab on the course
	@jupyter lab --notebook-dir=course

build: $(READY)  ## Make course/ from solutions/
	@autograder build

solutions: $(READY)  ## Execute the solution notebooks, plots included, into build/solutions
	@autograder build --solutions
	@jupyter nbconvert --execute --to notebook --output-dir build/solutions build/source/*/*.ipynb

lock: $(READY)  ## Renew requirements.lock from pyproject.toml
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --group dev --upgrade pyproject.toml --output-file requirements.lock

clean:  ## Remove the environment, what was built, and results
	rm -rf .venv build results

# The environment and what both Makefiles do with it: this repository's and the class edition's.

export PATH := $(CURDIR)/.venv/bin:$(PATH)
PYTHON ?= python3
TORCH ?=
READY := .venv/.ready

.PHONY: help setup lab

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(READY)  ## Install what grading and learning need into .venv
	@[ -z "$(TORCH)" ] || [ "$(TORCH)" = "$$(cat .venv/.torch)" ] || TORCH="$(TORCH)" sh scripts/setup

$(READY): requirements.lock pyproject.toml scripts/setup
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh scripts/setup  # sh: some unpackers drop the mode
	@touch $@

lab: $(READY)  ## Open JupyterLab on the course
	@jupyter lab --notebook-dir=course

# Two commands on a fresh machine: `make grade` and `make test`; each sets everything up first.
# TORCH=cpu installs the CPU build of torch, which is some 5 GB smaller.

include scripts/venv.mk

READY_DEV := .venv/.ready-dev
LOCK := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11

.PHONY: grade test check build solutions bench mutants lock clean

$(READY_DEV): $(READY) requirements-dev.lock
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh scripts/setup dev
	@touch $@

grade: $(READY)  ## Grade the example submissions into results/examples
	@autograder grade examples/submissions --out results/examples --force

test: $(READY_DEV)  ## Run every test: style, types, lessons, mutants, the sandbox
	@python -m pytest --numprocesses=logical --maxprocesses=4

check: $(READY_DEV)  ## Style, types, build --check, and the fast tests of what changed: within a minute
	@python -m pytest --changed --numprocesses=logical --maxprocesses=4 --quiet

build: $(READY)  ## Make course/ from solutions/
	@autograder build

solutions: $(READY)  ## Execute the solution notebooks, plots included, into build/solutions
	@autograder build --solutions
	@printf '%s\n' build/source/*/*.ipynb | AUTOGRADER_DATA=$(CURDIR)/build/data OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} \
	  xargs -n 1 -P $$(getconf _NPROCESSORS_ONLN) jupyter nbconvert --execute --to notebook --output-dir build/solutions

bench: $(READY)  ## Measure verdicts, references, throughput and watching, three quarters of an hour, into README's table
	@mkdir -p build/bench
	@python benchmarks/verdicts.py --json build/bench/verdicts.json
	@python benchmarks/references.py --json build/bench/references.json
	@python benchmarks/throughput.py --json build/bench/throughput.json
	@python benchmarks/watch.py --json build/bench/watch.json
	@python benchmarks/table.py build/bench

mutants: $(READY_DEV)  ## Grade what mutation makes of every reference, an hour or two: what do the checks let through?
	@python -m scripts.mutants $(MUTANTS)

lock: $(READY_DEV)  ## Renew both locks from pyproject.toml, and ask whether each package has its wheels
	@$(LOCK) --upgrade pyproject.toml --output-file requirements.lock
	@$(LOCK) --upgrade --constraint requirements.lock --group dev pyproject.toml --output-file requirements-dev.lock
	@python scripts/wheels.py

clean:  ## Remove the environment, what was built, and results
	rm -rf .venv build results

# Two commands on a fresh machine: `make grade` and `make test`; each sets everything up first.
# TORCH=cpu installs the CPU build of torch, which is some 5 GB smaller.

include scripts/venv.mk

.PHONY: grade test build solutions bench lock clean

grade: $(READY)  ## Grade the example submissions into results/examples
	@autograder grade examples/submissions --out results/examples --force

test: $(READY)  ## Run every test: style, types, lessons, mutants, the sandbox
	@python -m pytest

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

lock: $(READY)  ## Renew requirements.lock from pyproject.toml
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --group dev --upgrade pyproject.toml --output-file requirements.lock

clean:  ## Remove the environment, what was built, and results
	rm -rf .venv build results

# Each target does all the set-up it needs; a second call installs nothing.
#   make demo PYTHON=python3.12     another Python than python3
PYTHON ?= python3
RUN := OMP_WAIT_POLICY=PASSIVE .venv/bin/python

.PHONY: demo test test-slow slurm lint bench faults clean

demo: .venv/installed
	@$(RUN) tools/demo.py

test: .venv/installed
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy --no-error-summary
	@$(RUN) -m pytest -n 2 --dist worksteal -q

test-slow: .venv/installed
	@$(RUN) -m pytest -q -m slow

# A real SLURM cluster of two virtual nodes on this machine; needs root and Debian's packages, which it installs.
slurm: .venv/installed
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[slurm]"
	@$(RUN) -m pytest -q -m slurm tests/slurm

lint: .venv/installed
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

faults: .venv/installed  # kill -9 at 50 random moments, on one process and on two
	@$(RUN) tests/e2e/faults.py --kills 50 --processes 1 2

bench: .venv/installed
	@$(RUN) tools/benchmark.py model --cfg configs/SSv1/R2D50.yaml
	@$(RUN) tools/benchmark.py loader

.venv/installed: setup.py constraints.txt tools/install.sh
	@sh tools/install.sh $(PYTHON)

clean:
	rm -rf .venv build *.egg-info runs

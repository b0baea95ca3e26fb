# Each target does all the set-up it needs; a second call installs nothing.
#   make demo PYTHON=python3.12     another Python than python3
PYTHON ?= python3
RUN := OMP_WAIT_POLICY=PASSIVE .venv/bin/python

.PHONY: demo test test-slow slurm lint bench docs faults own-videos cases asm-loc a2summ ma-lmm gpu evidence evidence-quick clean

demo: .venv/installed
	@$(RUN) tools/demo.py

test: .venv/installed
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy --no-error-summary
	@$(RUN) -m pytest -n 2 --dist worksteal -q

test-slow: .venv/installed
	@$(RUN) -m pytest -n 2 --dist worksteal -q -m slow

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

own-videos: .venv/installed  # docs/your-own-videos.md word for word on a CPU, with made-up videos of 3 seeds
	@$(RUN) tests/e2e/own_videos.py --seeds 1 2 3

cases: .venv/installed  # what happened to users of similar tools, tried on this code; needs ../shared/cases
	@$(RUN) -m pytest -q -m "" -rs tests/e2e/test_cases.py

bench: .venv/installed
	@$(RUN) tools/benchmark.py model --cfg configs/SSv1/R2D50.yaml
	@$(RUN) tools/benchmark.py loader

docs: .venv/installed  # the pages as a site, in docs/_build; a warning is an error
	@$(RUN) -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo "The site: docs/_build/index.html"

gpu: .venv/installed  # five minutes on a GPU, most valuable first; without one a dry run at small size
	@$(RUN) tools/benchmark.py gpu --output runs/gpu

# ASM-Loc: end to end on made videos, 3 seeds; then the worlds of made features, which end with 1 where a margin is missed.
asm-loc: .venv/installed
	@$(RUN) projects/asm_loc/prove.py
	@$(RUN) projects/asm_loc/worlds.py

# A2Summ's experiments: the alignment on made sequences; summaries of made videos, end to end; memory over an hour.
a2summ: .venv/installed
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[a2summ]"
	@cd projects/a2summ && OMP_WAIT_POLICY=PASSIVE PYTHONPATH=../.. ../../.venv/bin/python -m a2summ.synthetic
	@cd projects/a2summ && OMP_WAIT_POLICY=PASSIVE PYTHONPATH=../.. ../../.venv/bin/python -m a2summ.world \
		--output ../../runs/a2summ/world
	@cd projects/a2summ && OMP_WAIT_POLICY=PASSIVE PYTHONPATH=../.. ../../.venv/bin/python -m a2summ.long_video \
		--output ../../runs/a2summ/long --network-cfg ../../runs/a2summ/world/network/run/config.yaml \
		--network-weights ../../runs/a2summ/world/network/run/checkpoints/checkpoint_epoch_00012.pyth

ma-lmm: .venv/installed  # memory that stays flat; the needle among 16 frames, 3 seeds
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[ma-lmm]"
	@$(RUN) projects/ma_lmm/prove.py memory
	@$(RUN) projects/ma_lmm/prove.py needle

# All tables of configs/Evidence, 3 seeds; what is finished is kept in docs/evidence, and is not run again. Cut off, the
# same command resumes; the first seed of all rows comes first.
EVIDENCE = table1 table2b table2a table3 table7 frozen w3 arrow backbones table2c regions figure5 frozen_hard

evidence: .venv/installed
	@$(RUN) tools/compare.py $(EVIDENCE:%=configs/Evidence/%.yaml) --jobs 2 --output runs/evidence --keep docs/evidence \
		--page docs/evidence.md

evidence-quick: .venv/installed  # some of the tables, one seed, one recipe: no intervals
	@$(RUN) tools/compare.py $(foreach table,table1 table2b frozen arrow,configs/Evidence/$(table).yaml) --seeds 1 \
		--one-recipe --jobs 2 --output runs/evidence --keep docs/evidence

.venv/installed: setup.py constraints.txt tools/install.sh
	@sh tools/install.sh $(PYTHON)

clean:
	rm -rf .venv build *.egg-info runs

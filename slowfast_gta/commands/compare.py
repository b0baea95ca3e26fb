"""compare: run the rows of tables with several seeds, and report which differences are significant."""

import argparse
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_gta.commands.submit import (
    Training,
    add_slurm_arguments,
    build_executor,
    check_numbers,
    dry_run,
    minutes_of,
    slurm_parameters,
    submit,
)
from slowfast_gta.config.arguments import CommandParser, add_trust_argument, as_called
from slowfast_gta.errors import ConfigError, Interrupted, counted
from slowfast_gta.experiments.plan import PlannedRun, build_plan, unique_runs
from slowfast_gta.experiments.table import Table, load_table, seeds_of

if TYPE_CHECKING:
    from slowfast_gta.experiments.comparison import TableResult
    from slowfast_gta.experiments.outcomes import Outcome
    from slowfast_gta.experiments.rates import RateChoice
    from slowfast_gta.experiments.sweep import Job

logger = logging.getLogger("slowfast_gta")

_EXAMPLES = """examples:
  python tools/compare.py configs/Evidence/table1.yaml --seeds 3 --jobs 2
  python tools/compare.py configs/Evidence/*.yaml --keep docs/evidence       (each run once, however many name it)
  python tools/compare.py configs/Evidence/table1.yaml --slurm --time 1:00:00 --gpus-per-node 1
  python tools/compare.py configs/Evidence/table1.yaml --no-run              (of what is finished)
  python tools/compare.py --runs runs/a_seed1 runs/a_seed2 runs/b_seed1 runs/b_seed2 --metrics top1

Run the same command again to go on. docs/evidence.md describes tables, and what the results mean.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every run of every table is finished, or was submitted; 1 where one failed or is missing."""
    parser = CommandParser("compare", description=__doc__, epilog=_EXAMPLES)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="YAML files, here or among the packaged ones")
    parser.add_argument("--runs", nargs="+", metavar="RUN", help="finished runs instead, by their OUTPUT_DIR")
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="numbers of results.json, as pairs.choice")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 1 to N, instead of the tables' own")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)")
    parser.add_argument("--output", default="runs/compare", metavar="DIR", help="results (default: %(default)s)")
    parser.add_argument("--runs-dir", metavar="DIR", help="where the runs are (default: OUTPUT/runs)")
    parser.add_argument("--keep", metavar="DIR", help="copy finished results here; what is here is not run again")
    parser.add_argument("--no-run", action="store_true", help="run nothing: the tables of what is finished")
    add_trust_argument(parser)
    parser.add_argument(
        "--page", metavar="FILE", help="write the results into this page too, for example docs/evidence.md"
    )
    parser.add_argument("--one-recipe", action="store_true", help="leave out the tables' LEARNING_RATES")
    parser.add_argument(
        "--intervals", choices=["t", "bootstrap"], help="over seeds, or over videos (default: the tables' own, t)"
    )
    parser.add_argument("--slurm", action="store_true", help="submit what is missing as an array of jobs")
    add_slurm_arguments(parser.add_argument_group("with --slurm"), time_required=False)
    args = parser.parse_args(arguments)
    if bool(args.tables) == bool(args.runs):
        raise ConfigError("compare needs tables, or --runs RUN ..., and not both.")
    if args.jobs < 1:
        raise ConfigError(f"--jobs is {args.jobs}; it must be 1 or more.")

    from slowfast_gta.engine.logging import setup_logging

    setup_logging()
    return _compare_runs(args) if args.runs else _compare_tables(args)


def _compare_runs(args: argparse.Namespace) -> int:
    from slowfast_gta.experiments.comparison import Question, compare_rows
    from slowfast_gta.experiments.finished import group_runs

    rows = group_runs([Path(run) for run in args.runs])
    seeds = sorted({seed for of_row in rows.values() for seed in of_row})
    metrics, intervals = args.metrics or ["top1"], args.intervals or "t"
    question = Question("Runs", "", metrics, seeds, next(iter(rows)), intervals=intervals)
    _write([compare_rows(question, rows)], Path(args.output))
    return 0


def _compare_tables(args: argparse.Namespace) -> int:
    from slowfast_gta.experiments.rates import choose_rates

    output = Path(args.output)
    runs_dir = Path(args.runs_dir or output / "runs").resolve()
    tables = {path: load_table(path) for path in args.tables}
    _check_names(args.tables)
    only_seeds = seeds_of(args.seeds) if args.seeds is not None else None
    seeds = {path: only_seeds or table.seeds for path, table in tables.items()}
    rates = {path: table.learning_rates for path, table in tables.items() if not args.one_recipe}
    tried = {path: {row.name: rates[path] for row in tables[path].rows} for path in rates if rates[path]}

    plan = functools.partial(build_plan, runs_dir=runs_dir, trust_plugins=args.trust_plugins)
    plans = {path: plan(table, seeds[path]) for path, table in tables.items()}
    trials = {path: plan(tables[path], tables[path].choosing, rates=of_row) for path, of_row in tried.items()}
    sweep = _Sweep(args, runs_dir)
    sweep.finish("one recipe for all rows", plans.values())
    sweep.finish("learning rates, to choose from", trials.values())
    choices = {path: choose_rates(of_table, sweep.outcomes) for path, of_table in trials.items()}
    chosen = {
        path: plan(tables[path], seeds[path], rates={row: [choice.rate] for row, choice in of_table.items()})
        for path, of_table in choices.items()
    }
    sweep.finish("the chosen learning rates", chosen.values())
    if args.slurm:
        if any(run.digest in sweep.missing for plan in trials.values() for run in plan):
            print(
                "Learning rates are chosen when the runs below are done: then this command submits what follows of it."
            )
        return _submit(args, list(sweep.missing.values()), runs_dir)
    every = []
    for path, table in tables.items():
        results = [_result(table, plans[path], sweep.outcomes, seeds[path], args)]
        if path in choices:
            results.append(_result(table, chosen[path], sweep.outcomes, seeds[path], args, choices[path]))
        _write(results, output / Path(path).stem)
        every.append(results)
    if args.page:
        from slowfast_gta.experiments.pages import write_into_page

        write_into_page(every, Path(args.page))
    exact = not any(result.not_blind for results in every for result in results)
    if not exact:
        logger.error("Rows that should be blind to the order of frames are not: see NOT AS IT MUST BE above.")
    return 0 if exact and not sweep.missing else 1


class _Sweep:
    """Runs one after the other, and what they left. `outcomes`: by digest; `missing`: runs that are not finished."""

    def __init__(self, args: argparse.Namespace, runs_dir: Path):
        self.outcomes: dict[str, Outcome] = {}
        self.missing: dict[str, PlannedRun] = {}
        self._args, self._runs_dir = args, runs_dir
        self._kept = Path(args.keep) if args.keep else None

    def finish(self, what: str, plans: Iterable[Sequence[PlannedRun]]) -> None:
        """Run what is not finished of `plans`, unless nothing is to be run here."""
        from slowfast_gta.experiments.outcomes import load_outcome

        runs = unique_runs(list(plans))
        for run in runs:
            if run.digest not in self.outcomes:
                if outcome := load_outcome(run, self._kept):
                    self.outcomes[run.digest] = outcome
                else:
                    self.missing[run.digest] = run
        missing = [run for run in runs if run.digest in self.missing]
        if runs:
            logger.info("%s: %s, finished: %d.", what, counted(len(runs), "run"), len(runs) - len(missing))
        if missing and not self._args.no_run and not self._args.slurm:
            self._total, self._ended = len(missing), 0
            _run(missing, self._runs_dir, self._args.jobs, self._on_end)

    def _on_end(self, job: "Job") -> None:
        from slowfast_gta.experiments.outcomes import keep_outcome, load_outcome

        outcome = load_outcome(job.run, None)
        assert outcome is not None, "the run ended well"
        self.outcomes[job.run.digest] = outcome
        del self.missing[job.run.digest]
        if self._kept:
            keep_outcome(job.run, outcome, self._kept)
        self._ended += 1
        line = f"{job.run.row}, seed {job.run.seed}, rate {job.run.rate:g}: top-1 {outcome.results['top1']:.2f} %"
        logger.info("[%d of %d] %s, %.0f s", self._ended, self._total, line, outcome.seconds)


def _run(missing: Sequence[PlannedRun], runs_dir: Path, num_jobs: int, on_end: Callable[["Job"], None]) -> None:
    from slowfast_gta.experiments.sweep import prepare_data, run_jobs, threads_of_each, write_jobs

    prepare_data(missing)
    logger.info(
        "Running %d, %d at a time, %s each.", len(missing), num_jobs, counted(threads_of_each(num_jobs), "thread")
    )
    try:
        failed = run_jobs(write_jobs(missing, runs_dir), num_jobs, on_end)
    except KeyboardInterrupt:
        raise Interrupted("Stopped: what is finished stays, what was running is saved.") from None
    if failed:
        logger.error("%d of %s failed; the last lines of each are above.", len(failed), counted(len(missing), "run"))


def _result(
    table: Table,
    plan: Sequence[PlannedRun],
    outcomes: dict[str, "Outcome"],
    seeds: Sequence[int],
    args: argparse.Namespace,
    choices: "dict[str, RateChoice] | None" = None,
) -> "TableResult":
    from slowfast_gta.experiments.comparison import Question, compare_rows

    rows: dict[str, dict[int, Outcome]] = {row.name: {} for row in table.rows}
    for run in plan:
        if run.digest in outcomes:
            rows[run.row][run.seed] = outcomes[run.digest]
    question = Question(
        table.title,
        table.source,
        args.metrics or table.metrics,
        seeds,
        table.reference,
        {row.name: row.paper for row in table.rows},
        table.claims,
        table.blind,
        args.intervals or table.intervals,
        table.note,
    )
    return compare_rows(question, rows, choices)


def _write(results: Sequence["TableResult"], output: Path) -> None:
    from slowfast_gta.experiments.pages import as_markdown, write_pages

    files = write_pages(results, output)
    print(as_markdown(results))
    print("\n".join(f"{file}" for file in files))


def _check_names(tables: Sequence[str]) -> None:
    stems = [Path(path).stem for path in tables]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise ConfigError(f"Two tables are called {twice[0]}, and their results would be written over each other.")


def _submit(args: argparse.Namespace, missing: Sequence[PlannedRun], runs_dir: Path) -> int:
    from slowfast_gta.experiments.sweep import prepare_data, write_jobs

    if args.time is None:
        raise ConfigError("--slurm needs --time, the limit of one run: MINUTES, HH:MM:SS or D-HH:MM:SS.")
    check_numbers(args)
    minutes = minutes_of(args.time)
    if not missing:
        print("Nothing is left to submit: the same command without --slurm writes the tables.")
        return 0
    log_dir = runs_dir / "slurm"
    if not args.dry_run:
        prepare_data(missing)
    jobs = write_jobs(missing, runs_dir)
    if args.dry_run:
        lines = dry_run(args, jobs[0].command, 1, minutes, log_dir)
        print(
            "\n".join(
                [
                    f"#SBATCH --array=0-{len(jobs) - 1}",
                    *lines,
                    f"# one of {counted(len(jobs), 'run')}; the others are alike",
                ]
            )
        )
        return 0
    executor = build_executor(log_dir, args.max_restarts)
    executor.update_parameters(**slurm_parameters(args, 1, minutes), slurm_array_parallelism=args.jobs)
    folder = str(Path.cwd())
    job = submit(executor, *(Training(job.command, folder) for job in jobs))
    print(f"Queued {counted(len(jobs), 'run')}, {args.jobs} at a time; the first is job {job.job_id}.")
    print(as_called("When they are done: python tools/compare.py ... --no-run writes the tables."))
    return 0

"""submit: hand a training to a SLURM cluster; it saves and queues itself again at the time limit or a pre-emption."""

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slowfast_gta.config.arguments import (
    CommandParser,
    add_config_arguments,
    load_configs,
    parse_arguments,
    split_sources,
)
from slowfast_gta.config.paths import check_separate_outputs
from slowfast_gta.errors import ConfigError, Interrupted, RunError, counted

_EXAMPLES = """examples:
  python tools/submit.py --cfg configs/SSv1/R2D50_GTA.yaml --nodes 2 --gpus-per-node 8 --time 24:00:00 \\
      --partition gpu OUTPUT_DIR /shared/runs/gta

  python tools/submit.py extract_features --cfg runs/gta/config.yaml --nodes 2 --time 4:00:00 --output features videos

run_net, the command that is left out, or extract_features, with its own arguments behind those of this one.
It submits, says where to look, and does not wait. All nodes must see the folder of the code, OUTPUT_DIR and the data.
docs/slurm.md; tools/slurm/train.sbatch is the same by hand.
"""

_COMMANDS = ("run_net", "extract_features")  # that can share their work, and go on where they were ended
_ENDING_SEC = 150.0  # for the training to finish its step and save after the warning


class Training:
    """What each task runs: tools/run_net.py in a process of its own, so that a signal's handler can wait for it."""

    def __init__(self, command: list[str], folder: str):
        self.command, self.folder = command, folder
        self._process: subprocess.Popen | None = None

    def __call__(self) -> None:
        """Raises RunError, which fails the job, where the training did."""
        self._process = subprocess.Popen(self.command, cwd=self.folder)
        code = self._process.wait()
        if code in (-signal.SIGUSR2, Interrupted.exit_code):
            time.sleep(_ENDING_SEC)  # the warning reached the training first; queueing again interrupts this
        if code:
            raise RunError(f"The training ended with exit code {code}; its output is above.")

    def checkpoint(self) -> Any:
        """What submitit asks for at the warning, once on the first node: this again, when the training has saved."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None and not self._has_ended():
            self._process.send_signal(signal.SIGUSR1)  # SLURM may have sent it already: once more is harmless
            deadline = time.monotonic() + _ENDING_SEC
            while not self._has_ended() and time.monotonic() < deadline:
                time.sleep(0.2)
        return DelayedSubmission(Training(self.command, self.folder))

    def _has_ended(self) -> bool:
        """Not by Popen's own ways: a signal's handler may interrupt one of them, which then waits for itself."""
        if self._process is None:
            return True
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        except ChildProcessError:
            return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the job is in the queue."""
    parser = CommandParser("submit", description=__doc__, epilog=_EXAMPLES)
    add_config_arguments(parser)
    add_slurm_arguments(parser, time_required=True)
    parser.add_argument("--log-dir", type=Path, help="submitit's files (default: OUTPUT_DIR/slurm of the first config)")
    words = list(sys.argv[1:] if arguments is None else arguments)
    rest: list[str]
    name = words.pop(0) if words[:1] and words[0] in _COMMANDS else "run_net"
    if name == "run_net":
        args, rest = parse_arguments(parser, words), []
    else:
        args, rest = parser.parse_known_args(words)  # the rest is the command's own
    given = args.cfg
    args.cfg, _ = split_sources(given) if rest else (given, [])
    if name != "run_net":
        from slowfast_gta.inference.run_folder import name_config_of_run

        args.cfg = name_config_of_run(args.cfg)
    minutes = minutes_of(args.time)
    check_numbers(args)
    configs = load_configs(args)
    check_separate_outputs(configs)  # a faulty config is reported here, not by a job that fails at night
    log_dir = args.log_dir or Path(configs[0].OUTPUT_DIR) / "slurm"
    args.cfg = given
    command = task_command(args, name, rest)
    # run_net starts a process for each GPU of its node; of the others, each task takes one
    num_tasks = 1 if name == "run_net" else max(1, args.gpus_per_node)
    if args.dry_run:
        print("\n".join(dry_run(args, command, num_tasks, minutes, log_dir)))
        return 0
    executor = build_executor(log_dir, args.max_restarts)
    executor.update_parameters(**slurm_parameters(args, num_tasks, minutes))
    job = submit(executor, Training(command, str(Path.cwd())))
    print(f"Job {job.job_id} is in the queue. Its log: {job.paths.stdout}")
    print(f"  squeue -j {job.job_id}     scancel {job.job_id}     results: {', '.join(c.OUTPUT_DIR for c in configs)}")
    return 0


def add_slurm_arguments(parser: argparse._ActionsContainer, time_required: bool) -> None:
    """What a job asks of the cluster."""
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (default: %(default)s)")
    parser.add_argument(
        "--gpus-per-node",
        type=int,
        default=0,
        metavar="G",
        help="GPUs of each; 0 trains on CPUs (default: %(default)s)",
    )
    parser.add_argument("--cpus-per-node", type=int, metavar="C", help="CPU cores of each (default: the cluster's)")
    parser.add_argument("--mem", metavar="SIZE", help="memory of each node, for example 200GB (default: the cluster's)")
    parser.add_argument("--time", required=time_required, help="time limit: MINUTES, HH:MM:SS or D-HH:MM:SS")
    parser.add_argument("--partition", help="partition to queue in (default: the cluster's)")
    parser.add_argument("--account", help="account to charge")
    parser.add_argument("--qos", help="quality of service (default: the cluster's)")
    parser.add_argument(
        "--constraint", metavar="FEATURES", help="features that nodes must have, for example 'a100|h100'"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be submitted, and submit nothing")
    parser.add_argument(
        "--signal-sec", type=int, default=180, help="how long before the limit the warning comes (default: %(default)s)"
    )
    parser.add_argument(
        "--max-restarts",
        type=int,
        default=100,
        help="how often it is queued again after the time limit (default: %(default)s)",
    )
    parser.add_argument("--job-name", default="slowfast_gta", help="default: %(default)s")


def slurm_parameters(args: argparse.Namespace, num_tasks: int, minutes: int) -> dict[str, Any]:
    """What `add_slurm_arguments` has read, as submitit takes it; `num_tasks` on a node."""
    wanted = {
        "slurm_gpus_per_node": args.gpus_per_node or None,
        "slurm_cpus_per_task": args.cpus_per_node,
        "slurm_qos": args.qos,
        "slurm_constraint": args.constraint,
        "slurm_mem": args.mem,
        "slurm_partition": args.partition,
        "slurm_account": args.account,
    }
    return {
        "name": args.job_name,
        "nodes": args.nodes,
        "tasks_per_node": num_tasks,
        "timeout_min": minutes,
        "slurm_signal_delay_s": args.signal_sec,
        "slurm_additional_parameters": {"requeue": True},
        "stderr_to_stdout": True,
        **{name: value for name, value in wanted.items() if value is not None},
    }


def check_numbers(args: argparse.Namespace) -> None:
    """Raises ConfigError for numbers that no job can have."""
    if min(args.nodes, args.signal_sec, args.max_restarts + 1, args.gpus_per_node + 1) < 1:
        raise ConfigError("--nodes and --signal-sec must be at least 1, --gpus-per-node and --max-restarts at least 0.")


def dry_run(args: argparse.Namespace, command: Sequence[str], num_tasks: int, minutes: int, log_dir: Path) -> list[str]:
    """The job as sbatch's options, the `command` of its tasks (`num_tasks` on a node), where its files would be."""
    options = {
        "job-name": args.job_name,
        "nodes": args.nodes,
        "ntasks-per-node": num_tasks,
        "time": minutes,
        "signal": f"USR2@{args.signal_sec}",
        "gpus-per-node": args.gpus_per_node or None,
        "cpus-per-task": args.cpus_per_node,
        "mem": args.mem,
        "partition": args.partition,
        "account": args.account,
        "qos": args.qos,
        "constraint": args.constraint,
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    lines += ["#SBATCH --requeue", f"cd {shlex.quote(str(Path.cwd()))}", shlex.join(command)]
    return [
        *lines,
        f"# submitit's files: {log_dir}; queued again at most {counted(args.max_restarts, 'time')}. Nothing was "
        "submitted.",
    ]


def minutes_of(text: str) -> int:
    """SLURM's way to give a time limit: 90, 1:30:00, 2-12:00:00 -> minutes, rounded up. Raises ConfigError."""
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):(\d\d):(\d\d))|(\d+)", text)
    if not match:
        raise ConfigError(f"--time is {text}; it must be MINUTES, HH:MM:SS or D-HH:MM:SS, for example 1-12:00:00.")
    if match[5]:
        return int(match[5])
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
    return days * 1440 + hours * 60 + minutes + -(-seconds // 60)


def task_command(args: argparse.Namespace, name: str = "run_net", rest: Sequence[str] = ()) -> list[str]:
    """The command line that each task runs: the configs and KEY VALUE pairs as they were given here, and all GPUs of
    its node, or for other commands than run_net, whose tasks share the work, one."""
    pairs = ["--opts", *args.opts] if args.opts else []
    if args.gpus_per_node and "NUM_GPUS" not in [*args.cfg, *args.opts]:
        pairs += ["NUM_GPUS", str(args.gpus_per_node if name == "run_net" else 1)]
    trust = ["--trust-plugins"] * args.trust_plugins
    return [sys.executable, "-m", "slowfast_gta", name, "--cfg", *args.cfg, *pairs, *trust, *rest]


def build_executor(log_dir: Path, max_restarts: int) -> Any:
    """submitit's, for SLURM. Raises RunError where there is none."""
    try:
        import submitit
    except ImportError:
        raise RunError(
            "tools/submit.py needs submitit, which is not installed: pip install '.[slurm]' in the folder of the code."
        ) from None
    missing = [program for program in ("sbatch", "srun") if not shutil.which(program)]
    if missing:
        raise RunError(f"There is no {' and no '.join(missing)} here. Run this on a login node of a SLURM cluster.")
    return submitit.AutoExecutor(log_dir, cluster="slurm", slurm_max_num_timeout=max_restarts)


def submit(executor: Any, *trainings: Training) -> Any:
    """The job; of several trainings the first of their array. Raises RunError with what sbatch says."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        if len(trainings) == 1:
            return executor.submit(*trainings)
        with executor.batch():
            jobs = [executor.submit(training) for training in trainings]
        return jobs[0]
    except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError):
        raise RunError("sbatch refused the job; its output is above.") from None

"""Training on a real SLURM cluster of two nodes that share files and nothing else: `make slurm`.

Every job trains the same small network on both nodes. Whatever happens to it, its weights are in the end those of the
job to which nothing happened, bit for bit, and no step is counted twice.
"""

import hashlib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cluster import Cluster, ClusterError
from eval_networks import arguments, config, write_weights
from made_videos import write_video
from miniatures import CFG, ROOT, TINY, command, keys, make_ssv2, metrics

pytestmark = pytest.mark.slurm

EPOCHS = 40
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
QUICK = {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    try:
        # Below the short /tmp: sockets have names of 108 characters at most.
        with Cluster(Path("/tmp/gta-slurm-tests")) as cluster:
            yield cluster
    except ClusterError as fault:
        pytest.fail(str(fault), pytrace=False)


class Job:
    """A training in the queue."""

    def __init__(self, cluster: Cluster, number: str, output_dir: Path, log: Path):
        self.cluster, self.number, self.output_dir, self.log = cluster, number, output_dir, log

    def wait_for_steps(self, count: int = 8) -> None:
        """Until it has trained so many."""
        self._wait("steps", lambda: num_steps(self.output_dir) >= count)

    def end(self, seconds: float = 240) -> dict[str, str]:
        return self.cluster.wait_for(self.number, ENDED, seconds)

    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def wait_for_output(self, text: str) -> None:
        self._wait(repr(text), lambda: text in self.output())

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            state = self.cluster.job(self.number)["JobState"]
            assert time.monotonic() < deadline and state not in ENDED, f"no {what}, {state}:\n{self.output()[-3000:]}"
            time.sleep(0.2)


def num_steps(output_dir: Path) -> int:
    return len(steps(output_dir)) if (output_dir / "metrics.jsonl").exists() else 0


def steps(output_dir: Path) -> list[int]:
    """The number of each training step that metrics.jsonl holds."""
    return [line["step"] for line in metrics(output_dir) if line["kind"] == "train"]


@pytest.fixture(scope="session")
def keys_of(tmp_path_factory) -> Callable[..., list[str]]:
    data = make_ssv2(tmp_path_factory.mktemp("data"))

    def all_keys(output_dir: Path, *pairs: object) -> list[str]:
        where = ("DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", output_dir, "NUM_GPUS", 0)
        length = ("SOLVER.MAX_EPOCH", EPOCHS, "TRAIN.EVAL_PERIOD", EPOCHS, "DATA_LOADER.NUM_WORKERS", 1)
        return ["--cfg", str(CFG), *keys(*TINY, *where, *length, *pairs)]

    return all_keys


@pytest.fixture(scope="session")
def train(cluster, keys_of):
    """train(folder, KEY, VALUE, ..., sbatch=[options], environment={}) -> the Job of tools/slurm/train.sbatch."""

    def submit(folder: Path, *pairs: object, sbatch: tuple = (), environment: dict | None = None) -> Job:
        exported = ",".join(f"{name}={value}" for name, value in (QUICK | (environment or {})).items())
        options = ["--nodes=2", f"--chdir={ROOT}", f"--export=ALL,{exported}", f"--output={folder}/job.out", *sbatch]
        script = str(ROOT / "tools" / "slurm" / "train.sbatch")
        number = cluster.submit(*options, script, *keys_of(folder / "run", *pairs))
        return Job(cluster, number, folder / "run", folder / "job.out")

    return submit


@pytest.fixture(scope="session")
def undisturbed(train, tmp_path_factory) -> Path:
    """OUTPUT_DIR of the job to which nothing happens."""
    job = train(tmp_path_factory.mktemp("undisturbed"))
    ended = job.end()
    assert ended["JobState"] == "COMPLETED" and ended["Restarts"] == "0", job.output()
    assert "2 processes on 2 machines (srun)" in job.output()
    return job.output_dir


def assert_same_end(job: Job, undisturbed: Path) -> None:
    """The job's weights and steps are the undisturbed one's."""
    name = f"checkpoints/checkpoint_epoch_{EPOCHS:05d}.pyth"
    one, other = (torch.load(folder / name, weights_only=True) for folder in (job.output_dir, undisturbed))
    for part, value in one["model_state"].items():
        assert torch.equal(value, other["model_state"][part]), part
    assert steps(job.output_dir) == steps(undisturbed)
    assert steps(undisturbed) == list(range(1, 3 * EPOCHS + 1))


def assert_ended_well(job: Job, undisturbed: Path, restarts: int = 1) -> None:
    ended = job.end()
    assert ended["JobState"] == "COMPLETED" and ended["Restarts"] == str(restarts), (ended, job.output()[-4000:])
    assert "Resuming from epoch" in job.output()
    assert_same_end(job, undisturbed)


def test_a_warning_saves_queues_again_and_loses_nothing(cluster, train, undisturbed, tmp_path):
    job = train(tmp_path)
    job.wait_for_steps()
    cluster.call(["scancel", "--batch", "--signal=USR1", job.number])
    job.wait_for_output("queued again")
    assert_ended_well(job, undisturbed)


def test_a_time_limit_does_the_same_by_itself(cluster, train, tmp_path):
    """A limit of one minute, once it trains; SLURM looks every half minute, warns, and has no mercy after it."""
    epochs = 600
    longer = ("SOLVER.MAX_EPOCH", epochs, "TRAIN.EVAL_PERIOD", epochs)
    job = train(tmp_path, *longer, sbatch=("--time=30", "--signal=B:USR1@50"))
    job.wait_for_steps()
    cluster.call(["scontrol", "update", f"JobId={job.number}", "TimeLimit=1"])
    job.wait_for_output("queued again")
    cluster.call(["scontrol", "update", f"JobId={job.number}", "TimeLimit=30"])
    ended = job.end(600)
    assert ended["JobState"] == "COMPLETED" and ended["Restarts"] == "1", (ended, job.output()[-4000:])
    assert "Resuming from epoch" in job.output()
    assert steps(job.output_dir) == list(range(1, 3 * epochs + 1))


def test_a_preempted_job_is_requeued(cluster, train, undisturbed, tmp_path):
    job = train(tmp_path, sbatch=("--exclusive",))
    job.wait_for_steps()
    urgent = cluster.submit("--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 3")
    assert cluster.wait_for(urgent, ENDED)["JobState"] == "COMPLETED"
    assert_ended_well(job, undisturbed)


def test_a_node_that_fails_is_waited_for(cluster, train, undisturbed, tmp_path):
    job = train(tmp_path, "TRAIN.CHECKPOINT_PERIOD_STEPS", 2)
    job.wait_for_steps()
    cluster.cut_power("node2")
    cluster.wait_for(job.number, {"PENDING"})
    cluster.call(["scontrol", "hold", job.number])  # what was to end the first run there must not meet the second
    cluster.start_node("node2")
    cluster.wait_until_idle()
    cluster.call(["scontrol", "release", job.number])
    assert_ended_well(job, undisturbed)


def test_scancel_saves_and_does_not_come_back(cluster, train, tmp_path):
    job = train(tmp_path)
    job.wait_for_steps()
    cluster.call(["scancel", job.number])
    ended = job.end()
    assert ended["JobState"] == "CANCELLED" and ended["Restarts"] == "0"
    assert re.search(r"Stopped (in|after) epoch \d+.*saved as", job.output()), job.output()[-2000:]
    assert list((job.output_dir / "checkpoints").glob("*.pyth"))
    time.sleep(8)  # longer than SLURM takes to start a job that is queued again
    assert cluster.job(job.number)["JobState"] == "CANCELLED"


def test_localhost_is_not_the_other_node(train, tmp_path):
    job = train(tmp_path, environment={"MASTER_ADDR": "localhost"})
    assert job.end()["JobState"] == "FAILED"
    assert (
        job.output().count("MASTER_ADDR is localhost, which on each of the 2 machines refers to that machine itself")
        == 2
    )
    assert "Traceback" not in job.output()


def test_an_address_that_only_one_node_has_is_named(cluster, train, tmp_path):
    """Node 1 meets itself under an address of its own loopback; node 2 finds nobody there."""
    job = train(tmp_path, "DIST_TIMEOUT_SEC", 15, environment={"MASTER_ADDR": "10.77.63.9"})
    assert job.end()["JobState"] == "FAILED"
    assert "10.77.63.9" in job.output() and "DIST_TIMEOUT_SEC" in job.output()
    assert "Traceback" not in job.output()


def test_shards_that_are_started_by_hand_meet(cluster, keys_of, undisturbed, tmp_path):
    """--num_shards and --shard_id, one srun with one task for each, on two nodes."""
    url = "tcp://10.77.63.1:9917"
    shards = []
    for shard in range(2):
        given = ["--num_shards", "2", "--shard_id", str(shard), "--init_method", url]
        given = command(*given, *keys_of(tmp_path / "run"))
        srun = ["srun", f"--chdir={ROOT}", "--nodes=1", "--ntasks=1", f"--nodelist=node{shard + 1}"]
        environment = cluster.environment | QUICK
        shards.append(subprocess.Popen([*srun, *given], env=environment, stdout=-1, stderr=-2, text=True))
    outputs = [shard.communicate(timeout=200)[0] for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0], outputs
    assert_same_end(Job(cluster, "", tmp_path / "run", tmp_path), undisturbed)


def test_submit_hands_it_over_and_it_queues_itself_again(cluster, keys_of, undisturbed, tmp_path):
    pytest.importorskip("submitit", reason="pip install submitit")
    given = ["--nodes", 2, "--time", "0:20:00", *keys_of(tmp_path / "run")]
    done = subprocess.run(
        command(*given, tool="submit"),
        env=cluster.environment | QUICK,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    number, log = re.match(r"Job (\d+) is in the queue. Its log: (\S+)", done.stdout).groups()
    job = Job(cluster, number, tmp_path / "run", Path(log))
    job.wait_for_steps()
    cluster.call(["scancel", "--signal=USR2", number])
    assert_ended_well(job, undisturbed)


def test_submit_reports_the_error_of_sbatch(cluster, keys_of, tmp_path):
    pytest.importorskip("submitit", reason="pip install submitit")
    given = command("--time", 10, "--partition", "nowhere", *keys_of(tmp_path / "run"), tool="submit")
    done = subprocess.run(given, env=cluster.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "invalid partition specified: nowhere" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: sbatch refused the job; its output is above."


# ------------------------------------------------------------------------------------------------ features, shared out


@pytest.fixture(scope="session")
def features(tmp_path_factory):
    """(the words of a command that extracts, but for --output, {file: SHA-256} of what one process makes of it)."""
    folder = tmp_path_factory.mktemp("features")
    weights = write_weights(config("r2d"), folder / "w.pyth")
    (folder / "videos").mkdir()
    for number in range(7):
        write_video(folder / "videos" / f"v{number}.mp4", 20 + 10 * number, fps=10)
    words = [*arguments("r2d"), "--weights", weights, "--window", 8, folder / "videos"]
    given = command(*words, "--output", folder / "alone", tool="extract_features")
    done = subprocess.run(given, env=os.environ | QUICK, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    return [str(word) for word in words], digests(folder / "alone")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_an_array_shares_the_videos(cluster, features, tmp_path):
    """As docs/features.md has it: one task of the array for each shard, on whichever node is free."""
    words, alone = features
    given = command(*words, "--output", tmp_path / "out", "--num_shards", 4, tool="extract_features")
    options = ["--array=0-3", f"--chdir={ROOT}", f"--output={tmp_path}/%a.out"]
    options += [f"--export=ALL,{','.join(f'{name}={value}' for name, value in QUICK.items())}"]
    number = cluster.submit(*options, "--wrap", f"{shlex.join(given)} --shard_id $SLURM_ARRAY_TASK_ID")
    for shard in range(4):
        ended = cluster.wait_for(f"{number}_{shard}", ENDED)
        output = (tmp_path / f"{shard}.out").read_text()
        assert ended["JobState"] == "COMPLETED", output
        assert f"shard {shard} of 4" in output
    assert digests(tmp_path / "out") == alone


def test_submit_shares_the_videos_between_the_nodes(cluster, features, tmp_path):
    pytest.importorskip("submitit", reason="pip install submitit")
    words, alone = features
    own = ["--nodes", 2, "--time", "0:20:00", "--log-dir", tmp_path / "logs"]
    given = command("extract_features", *own, *words, "--output", tmp_path / "out", tool="submit")
    done = subprocess.run(given, env=cluster.environment | QUICK, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    number, log = re.match(r"Job (\d+) is in the queue. Its log: (\S+)", done.stdout).groups()
    job = Job(cluster, number, tmp_path / "out", Path(log))
    ended = job.end()
    output = "".join(path.read_text() for path in (tmp_path / "logs").glob("*.out"))
    assert ended["JobState"] == "COMPLETED", output
    assert "shard 0 of 2" in output and "shard 1 of 2" in output
    assert digests(tmp_path / "out") == alone

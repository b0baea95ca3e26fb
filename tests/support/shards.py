"""tools/run_net.py on several processes, started as a user starts them."""

import os
import subprocess
from pathlib import Path

from miniatures import CFG, TINY, command, keys

from slowfast_gta.distributed.launch_context import free_port

# BatchNorm frozen and no dropout: what is random or per process would make one process and two differ.
ALIKE = ["MODEL.DROPOUT_RATE", 0.0, "MODEL.FROZEN_BN", True, "SOLVER.BASE_LR", 0.02, "TEST.NUM_ENSEMBLE_VIEWS", 2]


ALIKE += ["TRAIN.BATCH_SIZE", 6]


def arguments(data: Path, output: Path, *pairs: object) -> list[str]:
    where = ("DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", output)
    return ["--cfg", str(CFG), *keys(*TINY, *ALIKE, *where, *pairs)]


def start(line: list[str], **environment: str) -> subprocess.Popen:
    """A process of a group of its own, so that nothing but the test signals it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(
        line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def start_shards(num_shards: int, data: Path, output: Path, *pairs: object, flags: bool = True) -> list:
    url, processes = f"tcp://127.0.0.1:{free_port()}", []
    for shard in range(num_shards):
        line = command(*arguments(data, output, *pairs), "--init_method", url)
        line += ["--num_shards", str(num_shards), "--shard_id", str(shard)] if flags else ["SHARD_ID", str(shard)]
        processes.append(start(line))
    return processes


def ends(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """(exit code, stderr) of each."""
    outputs = [process.communicate(timeout=170)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, outputs, strict=True)]


def assert_well(ended: list[tuple[int, str]]) -> None:
    for code, output in ended:
        assert code == 0, output
        assert "Traceback" not in output and "Warning" not in output, output

"""What processes that read records and clips have in memory; in a plain module, that new processes find it by name."""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.loading.clips import TrainClips
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TrainTransform


def resident_mb() -> float:
    """What this process has in memory, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def sizes_after(counts: list[int], paths: list[str]) -> list[float]:
    """The size of this process in MB after so many training clips of `paths`, again and again."""
    records = [VideoRecord(path, 0, path) for path in paths]
    train = TrainTransform(32, (32, 40), (1.0,), (32, 32), False, flip=False)
    clips = TrainClips(records, ClipSampling("dense", 8, 2, 30.0, False), train, [None], seed=0)
    sizes = []
    for number, index in enumerate(islice(cycle(range(len(records))), counts[-1]), start=1):
        item = clips[number, index]
        assert (item.frames is None) == ("bad" in paths[index])
        if number in counts:
            sizes.append(resident_mb())
    return sizes


class Touching(Dataset):
    """Reads the record that is asked for, as often as an epoch does, and nothing else."""

    def __init__(self, records):
        self.records = records

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> int:
        some = np.random.default_rng(index).integers(len(self.records), size=256)
        return sum(len(self.records[number].path) for number in some.tolist())


def memory_mb(pid: int) -> float:
    """What a process has to itself, and its part of what it shares (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def peak_mib_of(line: Sequence[str]) -> float:
    """The most memory in MiB that a command line, or a process that it has started, has had at once."""
    code = "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024); sys.exit(done.returncode)"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])

"""What this machine has to train with: cores, memory, a GPU. For recipes that say what they were written for."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from slowfast_gta.errors import counted
from slowfast_gta.processes.parallel import num_cores

_GIB = 2**30
# A container's own limit: cgroup v2, then v1. "max", or a number beyond any machine's, is no limit.
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Machine:
    """`memory_gib` and `gpu_memory_gib` are what there is in all, not what is free; None: not known, or no GPU."""

    num_cores: int
    memory_gib: float | None
    gpu: str = ""
    gpu_memory_gib: float | None = None

    def __str__(self) -> str:
        memory = "an unknown amount of" if self.memory_gib is None else f"{self.memory_gib:.0f} GiB of"
        gpu = f"a GPU ({self.gpu}, {self.gpu_memory_gib:.0f} GiB)" if self.gpu else "no GPU"
        return f"{counted(self.num_cores, 'core')}, {memory} memory, {gpu}"


def this_machine() -> Machine:
    """What is here: of the cores and the memory, what this process may use."""
    import torch  # not above: --help needs none of it

    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None  # the first that PyTorch sees
    return Machine(num_cores(), _memory_gib(), gpu.name if gpu else "", gpu.total_memory / _GIB if gpu else None)


def _memory_gib() -> float | None:
    sizes = []
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in _CGROUP_FILES:
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int(Path(file).read_text()))
    return min(sizes) / _GIB if sizes else None

"""Whether the processes that read videos keep up with the network, from the first steps of a run."""

import math
import os

from slowfast_gta.errors import counted

STEPS_TO_TIME = 20
_ENOUGH = 0.1  # of the time, spent waiting for data


def feeding_message(clips_per_sec: float, data_share: float, num_workers: int, num_processes: int) -> str | None:
    """How many workers would do, where more than a tenth of the time is spent waiting for data.

    clips_per_sec, data_share: of all steps timed so far. num_workers: of each of `num_processes` on this machine.
    """
    if data_share < _ENOUGH or clips_per_sec <= 0:
        return None
    possible = clips_per_sec / max(1 - data_share, 0.01)
    needed = math.ceil(max(num_workers, 1) * possible / clips_per_sec)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    message = (
        f"{100 * data_share:.0f} % of the time is spent waiting for data: the network could process "
        f"{possible:.0f} clips/s, but DATA_LOADER.NUM_WORKERS {num_workers} supplies {clips_per_sec:.0f}. About "
        f"{counted(needed, 'worker')} would keep it busy"
    )
    if needed * num_processes <= cores:
        return f"{message}; this machine has {counted(cores, 'core')}."
    return (
        f"{message}, more than this machine can run on {counted(cores, 'core')}. Frames are much cheaper to "
        "read than videos: tools/prepare_data.py extract-frames writes them, and estimates their size."
    )

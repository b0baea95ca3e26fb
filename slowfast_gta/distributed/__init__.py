"""Several processes that train as one. On one process every function here does nothing, at no cost.

place      where this process stands, as torchrun, srun or --num_shards say
meeting    how the processes find one another
heartbeat  how they learn of each other's end
group      what they tell each other in training; the only importer of torch.distributed
norms      BatchNorm over all of them
launch     a job on every one of them
"""

from slowfast_gta.distributed.group import (
    any_process,
    barrier,
    data_parallel,
    exchange,
    gather,
    gather_on_main,
    get_rank,
    get_world_size,
    is_main,
    mean,
    pool_statistics,
    share_buffers,
    total,
    unsynchronized,
    weight_of_sample,
)
from slowfast_gta.distributed.launch import Terms, end_member, launch
from slowfast_gta.distributed.norms import SyncBatchNorm3d, synchronize_norms
from slowfast_gta.distributed.place import Place, find_place

__all__ = [
    "Place",
    "SyncBatchNorm3d",
    "Terms",
    "any_process",
    "barrier",
    "data_parallel",
    "end_member",
    "exchange",
    "find_place",
    "gather",
    "gather_on_main",
    "get_rank",
    "get_world_size",
    "is_main",
    "launch",
    "mean",
    "pool_statistics",
    "share_buffers",
    "synchronize_norms",
    "total",
    "unsynchronized",
    "weight_of_sample",
]

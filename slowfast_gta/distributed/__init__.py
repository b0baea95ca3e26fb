"""Several processes that train as one. On one process every function here does nothing, at no cost.

launch_context  where this process stands, as torchrun, srun or --num_shards say
rendezvous      how the processes find one another
heartbeat       how they learn of each other's end
group           what they tell each other in training; the only importer of torch.distributed
norms           BatchNorm over all of them
launch          a job on every one of them
"""

from slowfast_gta.distributed.group import (
    all_reduce_mean,
    all_reduce_sum,
    any_process,
    barrier,
    data_parallel,
    exchange,
    gather,
    gather_on_main,
    get_rank,
    get_world_size,
    is_main,
    pool_statistics,
    share_buffers,
    unsynchronized,
    weight_of_sample,
)
from slowfast_gta.distributed.launch import LaunchConfig, end_member, launch
from slowfast_gta.distributed.launch_context import LaunchContext, find_launch_context
from slowfast_gta.distributed.norms import SyncBatchNorm3d, synchronize_norms

__all__ = [
    "LaunchConfig",
    "LaunchContext",
    "SyncBatchNorm3d",
    "all_reduce_mean",
    "all_reduce_sum",
    "any_process",
    "barrier",
    "data_parallel",
    "end_member",
    "exchange",
    "find_launch_context",
    "gather",
    "gather_on_main",
    "get_rank",
    "get_world_size",
    "is_main",
    "launch",
    "pool_statistics",
    "share_buffers",
    "synchronize_norms",
    "unsynchronized",
    "weight_of_sample",
]

"""Several processes that train as one. On one process every function here does nothing, at no cost.

In the order in which a run opens them, from srun to its first step:

launch_context   which process this is, from the environment of torchrun, srun or --num_shards
launch           the processes of this machine, where the launcher started one task for all of them
member           one process: rendezvous, process group, job, and its end with all the others
rendezvous       process 0 waits for all, compares what they run and where they write
control_channel  from then on each learns at once when another one fails or is gone
process_group    torch's own connections: gloo, NCCL
collectives      what the processes exchange in training and testing
norms            BatchNorm over all of them
"""

from slowfast_gta.distributed.collectives import (
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
from slowfast_gta.distributed.launch import launch
from slowfast_gta.distributed.launch_context import LaunchConfig, LaunchContext, find_launch_context
from slowfast_gta.distributed.member import end_member
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

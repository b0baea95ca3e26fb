"""Which process this is of those that train together, as its environment says: torchrun, srun, or neither.

machine = a node, a shard. A launcher starts either one task for each process (torchrun, srun with several tasks on a
node) or one task for each machine (--num_shards, srun with one task on each node); the latter starts the machine's
processes, one for each GPU.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from slowfast_gta.errors import ConfigError, counted

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_LOOPBACK = re.compile(r"localhost|127\.0\.\d+\.\d+|::1|ip6-localhost")


@dataclass(frozen=True)
class LaunchContext:
    """One task of a launcher, or one process: `rank` of `world_size`, `local_rank` of `local_size` on its machine."""

    launcher: str = "alone"  # alone | torchrun | srun | shards
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1
    machine: int = 0
    num_machines: int = 1
    host: str = "127.0.0.1"  # of the rendezvous: the machine of process 0
    port: int = 0  # 0: any, on one machine; learned from torchrun's own store, where that has the port
    agent_port: int = 0  # torchrun's own store
    is_machine: bool = True  # this task starts the processes of its machine

    @property
    def is_main(self) -> bool:
        """Whether this task is, or starts, the process that prints and writes."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """For people: process 1 of 2."""
        return f"process {self.rank} of {self.world_size}"

    @property
    def address(self) -> str:
        """HOST:PORT of the rendezvous."""
        return f"{self.host}:{self.port}"

    def processes(self, num_local: int) -> list["LaunchContext"]:
        """The processes that this task stands for: itself, or `num_local` (one for each GPU) of its machine."""
        if not self.is_machine or num_local < 2:
            return [self]
        world_size, first = self.num_machines * num_local, self.machine * num_local
        machine = replace(self, world_size=world_size, local_size=num_local, port=self.port or free_port())
        return [replace(machine, rank=first + local, local_rank=local) for local in range(num_local)]


@dataclass(frozen=True)
class LaunchConfig:
    """How processes work together; equal on all of them."""

    backend: str = "auto"  # auto | nccl | gloo
    on_gpu: bool = False
    folder: Path = Path()  # that all of them share
    timeout_sec: float = 50.0  # for the rendezvous, and for a process that stops responding
    wait_sec: float = 1800.0  # that a process may keep the others waiting
    must_match: dict = field(default_factory=dict)  # what must be equal on all, by name: text, or mappings of text
    number: int = 0  # of this launch among those of the same command

    @property
    def chosen_backend(self) -> str:
        """The backend that auto stands for."""
        return ("nccl" if self.on_gpu else "gloo") if self.backend == "auto" else self.backend


def find_launch_context(
    environment: Mapping[str, str], num_shards: int = 1, shard_id: int = 0, init_method: str | None = None
) -> LaunchContext:
    """What `environment` says; without a launcher, shard `shard_id` of `num_shards` with the rendezvous init_method.

    Raises ConfigError where the launcher and num_shards contradict, or where several machines would use localhost.
    """
    context = _of_torchrun(environment) or _of_srun(environment, init_method) or LaunchContext()
    if context.launcher == "alone" and num_shards > 1:
        return _of_shards(num_shards, shard_id, init_method)
    if num_shards not in (1, context.num_machines):
        raise ConfigError(
            f"NUM_SHARDS is {num_shards}, but {context.launcher} started this run on "
            f"{counted(context.num_machines, 'machine')}. Leave NUM_SHARDS out: the launcher sets it."
        )
    if context.num_machines > 1 and _LOOPBACK.fullmatch(context.host):
        raise ConfigError(
            f"MASTER_ADDR is {context.host}, which on each of the {context.num_machines} machines refers to "
            "that machine itself. Set it to the name or address of the first one."
        )
    return context


def _of_shards(num_shards: int, shard_id: int, url: str | None) -> LaunchContext:
    if url is None:
        raise ConfigError(
            f"NUM_SHARDS is {num_shards}: the machines need a rendezvous address. Give each of them "
            "--init_method tcp://HOST:PORT of machine 0, and its own --shard_id; or start them with torchrun or srun."
        )
    host, port = split_address(url)
    return LaunchContext("shards", shard_id, num_shards, 0, 1, shard_id, num_shards, host, port)


def split_address(url: str) -> tuple[str, int]:
    """tcp://HOST:PORT -> (HOST, PORT). Raises ConfigError for anything else."""
    match = re.fullmatch(r"tcp://\[?([^/\s]+?)\]?:(\d+)", url)
    if not match or not 0 < int(match[2]) < 65536:
        raise ConfigError(f"--init_method is {url}; it must be tcp://HOST:PORT, for example tcp://10.0.0.1:9999.")
    return match[1], int(match[2])


def _of_torchrun(environment: Mapping[str, str]) -> LaunchContext | None:
    """torchrun, or whatever else sets its variables. One process alone is a lone run."""
    if not all(environment.get(name) for name in _TORCHRUN):
        return None
    rank, world_size, local_rank, port = (
        _number(environment, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
    )
    local_size = _number(environment, "LOCAL_WORLD_SIZE", world_size)
    num_machines = _number(environment, "GROUP_WORLD_SIZE", -(-world_size // local_size))
    machine = _number(environment, "GROUP_RANK", rank // local_size)
    if world_size == 1:
        return LaunchContext("torchrun", is_machine=False)
    agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    host = environment["MASTER_ADDR"]
    own_port, agent_port = (0, port) if agent else (port, 0)
    return LaunchContext(
        "torchrun", rank, world_size, local_rank, local_size, machine, num_machines, host, own_port, agent_port, False
    )


def _of_srun(environment: Mapping[str, str], url: str | None) -> LaunchContext | None:
    """A task of an srun with several. Inside sbatch or salloc, outside of srun, there is no step: a lone run."""
    if "SLURM_STEP_NUM_TASKS" not in environment or "SLURM_PROCID" not in environment:
        return None
    world_size = _number(environment, "SLURM_STEP_NUM_TASKS")
    if world_size == 1:
        return None
    rank, num_machines = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_STEP_NUM_NODES")
    machine = _number(environment, "SLURM_NODEID")
    host, port = split_address(url) if url else _address_of_step(environment)
    local_rank = _number(environment, "SLURM_LOCALID")
    local_size = tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])[machine]
    is_machine = world_size == num_machines
    return LaunchContext(
        "srun", rank, world_size, local_rank, local_size, machine, num_machines, host, port, is_machine=is_machine
    )


def _address_of_step(environment: Mapping[str, str]) -> tuple[str, int]:
    """MASTER_ADDR and MASTER_PORT, where set; else the step's first node, and a port that only this step has."""
    nodes = environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"]
    job, step = _number(environment, "SLURM_JOB_ID"), _number(environment, "SLURM_STEP_ID", 0)
    # Below the ports that systems hand out by themselves (32768 and up, on Linux).
    port = _number(environment, "MASTER_PORT", 15000 + (10 * job + step) % 15000)
    return environment.get("MASTER_ADDR") or first_host(nodes), port


def first_host(nodes: str) -> str:
    """The first of SLURM's list of nodes: gpu[03-05,9],login -> gpu03."""
    first = re.match(r"(?:[^,\[]|\[[^]]*\])+", nodes)
    return re.sub(r"\[(\w+)[^]]*\]", r"\1", first[0] if first else nodes)


def tasks_per_node(counts: str) -> list[int]:
    """SLURM's count of tasks on each node: 2(x3),1 -> [2, 2, 2, 1]."""
    tasks = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        tasks += [int(count)] * int(times or 1)
    return tasks


def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise ConfigError(f"The environment variable {name} is {text!r}; it must be a number. The launcher sets it.")
    return int(text)

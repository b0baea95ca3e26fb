"""Who a process is among those that train together, from what launchers put into the environment."""

import pytest

from slowfast_gta.distributed.launch_context import (
    LaunchContext,
    find_launch_context,
    first_host,
    split_address,
    tasks_per_node,
)
from slowfast_gta.errors import ConfigError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"}
TORCHRUN |= {"GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
TORCHRUN |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}

BATCH_SHELL = {"SLURM_JOB_ID": "1234567", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
BATCH_SHELL |= {"SLURM_JOB_NODELIST": "gpu[03-04]", "SLURM_NODEID": "0", "SLURM_NNODES": "2"}


def step(rank: int, tasks: int, per_node: str, node: int, local: int, nodes: int = 2) -> dict[str, str]:
    """The environment of one task of an srun."""
    return BATCH_SHELL | {
        "SLURM_STEP_ID": "2",
        "SLURM_STEP_NODELIST": "gpu[03-04]",
        "SLURM_STEP_NUM_NODES": str(nodes),
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_STEP_TASKS_PER_NODE": per_node,
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(node),
        "SLURM_LOCALID": str(local),
    }


def test_a_lone_run_is_alone():
    assert find_launch_context({}) == LaunchContext()
    assert find_launch_context({}).is_main and find_launch_context({}).processes(1) == [LaunchContext()]


@pytest.mark.parametrize("environment", [BATCH_SHELL, step(0, 1, "1", 0, 0, nodes=1), {"SLURM_JOB_ID": "5"}])
def test_inside_an_allocation_but_no_task_among_several_it_is_a_lone_run(environment):
    assert find_launch_context(environment) == LaunchContext()


def test_torchrun():
    context = find_launch_context(TORCHRUN)
    assert (context.launcher, context.rank, context.world_size) == ("torchrun", 3, 4)
    assert (context.local_rank, context.local_size, context.machine, context.num_machines) == (1, 2, 1, 2)
    assert (context.host, context.port, context.agent_port) == ("node1", 0, 29500)
    assert context.processes(4) == [context], "torchrun starts each process itself"


def test_what_sets_the_variables_of_torchrun_without_its_store_gives_the_port_to_process_0():
    context = find_launch_context(TORCHRUN | {"TORCHELASTIC_USE_AGENT_STORE": "False"})
    assert (context.port, context.agent_port) == (29500, 0)
    bare = {name: TORCHRUN[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    assert find_launch_context(bare | {"MASTER_ADDR": "127.0.0.1"}).num_machines == 1


def test_torchrun_with_one_process_is_a_lone_run_of_one_gpu():
    context = find_launch_context(
        TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    )
    assert context.world_size == 1 and context.processes(8) == [context]


def test_srun_with_a_task_for_each_gpu():
    context = find_launch_context(step(5, 8, "4(x2)", 1, 1))
    assert (context.launcher, context.rank, context.world_size, context.local_rank, context.local_size) == (
        "srun",
        5,
        8,
        1,
        4,
    )
    assert (context.host, context.port) == ("gpu03", 15000 + (12345670 + 2) % 15000)
    assert context.processes(4) == [context] and not context.is_machine


def test_srun_with_a_task_for_each_node_starts_the_processes_of_its_node():
    context = find_launch_context(step(1, 2, "1(x2)", 1, 0))
    assert context.processes(1) == [context], "one GPU on each node is data-parallel like any other"
    found = context.processes(4)
    assert [one.rank for one in found] == [4, 5, 6, 7] and [one.local_rank for one in found] == [0, 1, 2, 3]
    assert {(one.world_size, one.local_size, one.machine, one.num_machines) for one in found} == {(8, 4, 1, 2)}


def test_steps_and_jobs_meet_at_ports_of_their_own():
    ports = {
        find_launch_context(step(0, 2, "1(x2)", 0, 0) | {"SLURM_STEP_ID": str(number)}).port for number in range(5)
    }
    ports.add(find_launch_context(step(0, 2, "1(x2)", 0, 0) | {"SLURM_JOB_ID": "1234568"}).port)
    assert len(ports) == 6 and all(15000 <= port < 32768 for port in ports)


def test_the_users_address_is_stronger_than_the_list_of_nodes():
    environment = step(0, 2, "1(x2)", 0, 0) | {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "4000"}
    assert (find_launch_context(environment).host, find_launch_context(environment).port) == ("10.0.0.7", 4000)
    context = find_launch_context(environment, init_method="tcp://other:5000")
    assert (context.host, context.port) == ("other", 5000)


def test_shards():
    context = find_launch_context({}, 2, 1, "tcp://10.0.0.1:9999")
    assert (context.launcher, context.rank, context.world_size, context.host, context.port) == (
        "shards",
        1,
        2,
        "10.0.0.1",
        9999,
    )
    assert [one.rank for one in context.processes(8)] == list(range(8, 16))
    assert find_launch_context(BATCH_SHELL, 2, 1, "tcp://10.0.0.1:9999").launcher == "shards"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_several_machines_never_meet_at_localhost(host):
    for environment in (TORCHRUN, step(0, 2, "1(x2)", 0, 0)):
        with pytest.raises(ConfigError, match=f"MASTER_ADDR is {host}.* 2 machines"):
            find_launch_context(environment | {"MASTER_ADDR": host})


def test_what_contradicts_is_refused():
    with pytest.raises(ConfigError, match=r"NUM_SHARDS.*3,.*2"):
        find_launch_context(TORCHRUN, 3)
    assert find_launch_context(TORCHRUN, 2).rank == 3
    with pytest.raises(ConfigError, match=r"NUM_SHARDS is 2.* --init_method tcp://HOST:PORT"):
        find_launch_context({}, 2)
    with pytest.raises(ConfigError, match="RANK is 'three'; it must be a number"):
        find_launch_context(TORCHRUN | {"RANK": "three"})


@pytest.mark.parametrize("url", ["tcp://somewhere", "file:///x", "tcp://a:0", "tcp://a:99999", "10.0.0.1:99"])
def test_an_address_is_a_host_and_a_port(url):
    with pytest.raises(ConfigError, match="tcp://HOST:PORT"):
        split_address(url)


def test_addresses_hosts_and_tasks():
    assert split_address("tcp://node-1.cluster:80") == ("node-1.cluster", 80)
    assert split_address("tcp://[fe80::1]:80") == ("fe80::1", 80)
    hosts = ["gpu03", "gpu[03-05,9],login", "rack[1-2]n[07,9]-x,a", "a,b[1-2]"]
    assert [first_host(nodes) for nodes in hosts] == ["gpu03", "gpu03", "rack1n07-x", "a"]
    assert tasks_per_node("2(x3),1") == [2, 2, 2, 1] and tasks_per_node("4") == [4]

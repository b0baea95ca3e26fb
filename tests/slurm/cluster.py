"""A real SLURM cluster on this machine, for tests: one controller and a slurmd for each of some virtual nodes.

    python tests/slurm/cluster.py up          # prints `export SLURM_CONF=...`
    python tests/slurm/cluster.py down

Every node is a network namespace of its own on one bridge, with its own host name, processes and /etc/hosts, so
that `localhost` on one node is not the other, as on a cluster; files are shared, as on a cluster's home. Killing a
node's first process takes all of its processes along, as a power cut would.

Needs root, Linux namespaces, and Debian's slurmctld, slurmd, slurm-client, munge and iproute2, which `up` installs
where they are missing. There are no cgroups and no accounting database.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge", "iproute2"]
_PROGRAMS = ["slurmctld", "slurmd", "sbatch", "munged", "ip", "unshare", "nsenter"]
_READY_SEC = 60
_BRIDGE, _NETWORK = "gta-slurm", "10.77.63"  # the login node is .254, node i is .i

# What the tests have to wait for is short; the rest is as a cluster without cgroups and accounting has it.
_CONF = """
ClusterName=gta
SlurmctldHost={login}({network}.254)
SlurmctldPort=26817
SlurmUser=root
SlurmdUser=root
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/spool-%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/%n.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/%n.log
AuthType=auth/munge
AuthInfo=socket={state}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=15
KillWait=20
MinJobAge=86400
NodeName=node[1-{nodes}] NodeAddr={network}.[1-{nodes}] Port=26818 CPUs=8 RealMemory=500000
PartitionName=spare Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=60 State=UP
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF State=UP
"""


class ClusterError(Exception):
    """What keeps the cluster from being had here, in a sentence."""


class Cluster:
    """`num_nodes` virtual nodes; everything the cluster writes is in `state`. Use as a context manager."""

    def __init__(self, state: Path, num_nodes: int = 2):
        self.state = state.absolute()
        self.nodes = [f"node{number}" for number in range(1, num_nodes + 1)]
        self.conf = self.state / "slurm.conf"
        self.environment = os.environ | {"SLURM_CONF": str(self.conf)}

    def __enter__(self) -> "Cluster":
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Start it; ready for jobs on return. Raises ClusterError."""
        if os.geteuid():
            raise ClusterError("A SLURM cluster of virtual nodes needs root.")
        self._install()
        self.down()
        (self.state / "controller").mkdir(parents=True)
        # munged insists that only its user can write beside its socket.
        self.state.chmod(0o755)
        login = os.uname().nodename.split(".")[0]
        self.conf.write_text(
            _CONF.format(login=login, network=_NETWORK, state=self.state, nodes=len(self.nodes)).lstrip()
        )
        hosts = [f"{_NETWORK}.{number} {node}" for number, node in enumerate(self.nodes, start=1)]
        lines = ["127.0.0.1 localhost", f"{_NETWORK}.254 {login}", *hosts]
        (self.state / "hosts").write_text("\n".join(lines) + "\n")
        self._lay_network()
        self._start_munge()
        self._spawn("slurmctld", ["slurmctld", "-D", "-f", str(self.conf)])
        for node in self.nodes:
            self.start_node(node)
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Until every node could take a job. Raises ClusterError."""
        self._wait("the nodes to be idle", self._is_ready)

    def down(self) -> None:
        """Cancel what runs and end every process; the logs stay."""
        if self._alive("slurmctld"):
            with suppress(subprocess.TimeoutExpired):
                self.call(["scancel", "--full", "--signal=KILL", "--state=RUNNING"], check=False)
                self.call(["scancel", "--state=PENDING"], check=False)
        for name in [*self.nodes, "slurmctld", "munged"]:
            self._kill(name)
        for node in self.nodes:
            subprocess.run(["ip", "netns", "del", f"gta-{node}"], capture_output=True)
        subprocess.run(["ip", "link", "del", _BRIDGE], capture_output=True)
        for folder in ["controller", *(f"spool-{node}" for node in self.nodes)]:
            shutil.rmtree(self.state / folder, ignore_errors=True)

    def start_node(self, node: str) -> None:
        """Power on: slurmd below a shell that is the first process of the node's own name spaces."""
        script = (
            f"hostname {node} && mount --bind {self.state}/hosts /etc/hosts && mount -t proc proc /proc || exit; "
            f"slurmd -D -N {node} -f {self.conf} & wait"
        )
        inside = ["unshare", "--uts", "--pid", "--mount", "--fork", "--kill-child", "bash", "-c", script]
        # Not by `ip netns exec`: that mounts another /sys, and slurmd wants the one with the cgroups.
        self._spawn(node, ["nsenter", f"--net=/run/netns/gta-{node}", *inside])

    def cut_power(self, node: str) -> None:
        """Every process of `node` is gone at once."""
        self._kill(node)

    def call(self, command: list[str], check: bool = True) -> str:
        """What a SLURM command prints. Raises ClusterError with what it said when it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise ClusterError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def submit(self, *arguments: str) -> str:
        """sbatch --parsable ARGUMENTS; the job's number."""
        return self.call(["sbatch", "--parsable", *arguments]).strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says of it, by its words: JobState, ExitCode, Restarts, ..."""
        return dict(re.findall(r"(\w+)=(\S*)", self.call(["scontrol", "show", "job", number])))

    def wait_for(self, number: str, states: set[str], seconds: float = 240) -> dict[str, str]:
        """The job as soon as it is in one of `states`. Raises ClusterError after `seconds`."""
        self._wait(f"job {number} to be {' or '.join(states)}", lambda: self.job(number)["JobState"] in states, seconds)
        return self.job(number)

    def _install(self) -> None:
        missing = [program for program in _PROGRAMS if not shutil.which(program)]
        if not missing:
            return
        if not shutil.which("apt-get"):
            raise ClusterError(f"There is no {', '.join(missing)} here, and no apt-get to install it with.")
        quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True, "text": True}
        subprocess.run(["apt-get", "update"], **quiet)
        done = subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *_PACKAGES], **quiet)
        if done.returncode:
            raise ClusterError(f"apt-get could not install {' '.join(_PACKAGES)}: {done.stderr.strip()[-300:]}")

    def _lay_network(self) -> None:
        commands = [
            f"link add {_BRIDGE} type bridge",
            f"addr add {_NETWORK}.254/24 dev {_BRIDGE}",
            f"link set {_BRIDGE} up",
        ]
        for number, node in enumerate(self.nodes, start=1):
            space, cable = f"gta-{node}", f"gta-{number}"
            commands += [
                f"netns add {space}",
                f"link add {cable} type veth peer name eth0 netns {space}",
                f"link set {cable} master {_BRIDGE} up",
                f"-n {space} addr add {_NETWORK}.{number}/24 dev eth0",
                f"-n {space} link set eth0 up",
                f"-n {space} link set lo up",
            ]
        for command in commands:
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
            if done.returncode:
                raise ClusterError(f"No network of virtual nodes can be had here: ip {command}: {done.stderr.strip()}")

    def _start_munge(self) -> None:
        key, seed = self.state / "munge.key", self.state / "munge.seed"
        key.unlink(missing_ok=True)
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, os.urandom(128))
        os.close(descriptor)
        socket = self.state / "munge.socket"
        files = [f"--key-file={key}", f"--seed-file={seed}", f"--pid-file={self.state}/munge.pid"]
        files += [f"--log-file={self.state}/munged.log", f"--socket={socket}"]
        self._spawn("munged", ["munged", "--foreground", "--force", *files])
        test = ["munge", "-n", "-S", str(socket)]
        self._wait("munged", lambda: subprocess.run(test, capture_output=True).returncode == 0)

    def _is_ready(self) -> bool:
        for name in ("munged", "slurmctld", *self.nodes):
            if not self._alive(name):
                last = (self.state / f"{name}.out").read_text().strip().splitlines()[-1:]
                raise ClusterError(f"{name} has ended: {' '.join(last)}. The logs are in {self.state}.")
        idle = self.call(["sinfo", "-h", "-N", "-p", "spare", "-t", "idle", "-o", "%N"], check=False).split()
        return len(idle) == len(self.nodes)

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self.state / f"{name}.out").open("a") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        (self.state / f"{name}.process").write_text(f"{process.pid} {_start_time(process.pid)}")

    def _pid(self, name: str) -> int | None:
        """The process started as `name`, while it lives. A number alone might by now be someone else's."""
        with suppress(OSError, ValueError):
            pid, start = (self.state / f"{name}.process").read_text().split()
            if _start_time(int(pid)) == start:
                return int(pid)
        return None

    def _alive(self, name: str) -> bool:
        return self._pid(name) is not None

    def _kill(self, name: str) -> None:
        pid = self._pid(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 10
            while self._pid(name) is not None and time.monotonic() < deadline:
                time.sleep(0.05)

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float = _READY_SEC) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise ClusterError(f"Waited {seconds:.0f} s for {what}. The logs are in {self.state}.")
            time.sleep(0.3)


def _start_time(pid: int) -> str:
    """When the process began, in clock ticks, as /proc has it. Raises OSError; ValueError for a zombie."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    if fields[0] in "ZX":
        raise ValueError(f"process {pid} has ended")
    return fields[19]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("--state", type=Path, default=Path("/tmp/gta-slurm"), help="folder (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=2, help="default: %(default)s")
    args = parser.parse_args()
    cluster = Cluster(args.state, args.nodes)
    try:
        getattr(cluster, args.action)()
    except ClusterError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    if args.action == "up":
        print(f"export SLURM_CONF={cluster.conf}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

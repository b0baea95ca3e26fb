"""Processes, each a thread here, come together or learn in one sentence why not; then they watch one another."""

import contextlib
import errno
import os
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from slowfast_gta.distributed import control_channel
from slowfast_gta.distributed import rendezvous as rendezvous_module
from slowfast_gta.distributed.control_channel import Connection, ControlChannel
from slowfast_gta.distributed.launch_context import LaunchConfig, LaunchContext, free_port
from slowfast_gta.distributed.process_group import _choose_interface
from slowfast_gta.distributed.rendezvous import RendezvousError, _public_address, rendezvous

ABOUT = {"code": "0.1.0+abc", "config": {"SOLVER.BASE_LR": "0.1", "RNG_SEED": "1"}}


def rendezvous_all(world_size: int, folder: Path, limit_sec: float = 3.0, **different: dict) -> list:
    """What each process gets: (ControlChannel, GroupStore), or its RendezvousError.

    different: rank3={"must_match": ...}, or rank3=None for one that does not come.
    """
    port = free_port()

    def one(rank: int):
        other = different.get(f"rank{rank}", {})
        context = LaunchContext(
            "shards", other.get("rank", rank), other.get("world_size", world_size), host="127.0.0.1"
        )
        context = LaunchContext(**(vars(context) | {"port": other.get("port", port)}))
        config = LaunchConfig(
            folder=other.get("folder", folder),
            timeout_sec=limit_sec,
            must_match=other.get("must_match", ABOUT),
            number=other.get("launch", 0),
        )
        try:
            return rendezvous(context, config, other.get("gpu", ""))
        except RendezvousError as fault:
            return fault

    ranks = [rank for rank in range(world_size) if different.get(f"rank{rank}", {}) is not None]
    with ThreadPoolExecutor(world_size) as pool:
        return list(pool.map(one, ranks))


def texts(results: list) -> list[str]:
    assert all(isinstance(result, RendezvousError) for result in results), results
    return [str(result) for result in results]


@pytest.fixture
def three(tmp_path):
    channels = [found for found, _ in rendezvous_all(3, tmp_path, limit_sec=1.5)]
    yield channels
    for one in channels:
        with contextlib.suppress(OSError):
            one.close()


def watch_all(channels: list[ControlChannel]) -> list[list[dict]]:
    """The faults that each of them learns of from now on."""
    learned = [[] for _ in channels]
    for one, faults in zip(channels, learned, strict=True):
        one.watch(faults.append)
    return learned


def wait_until(condition) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


# ------------------------------------------------------------------------------------------- coming together


def test_all_come_and_learn_where_the_store_of_process_0_is(three, tmp_path):
    assert [len(one.others) for one in three] == [2, 1, 1]
    assert three[2].names == three[0].names and three[0].names[1].startswith("process 1 of 3 (")
    assert list(tmp_path.iterdir()) == [], "the file that all looked for is gone"
    hosting, attending = (store for _, store in rendezvous_all(2, tmp_path))
    assert hosting.server.port == hosting.port == attending.port and attending.server is None
    assert hosting.address == attending.address == "127.0.0.1"


def test_the_address_of_process_0_is_the_one_that_other_machines_use():
    """A process of the same machine may come over the loopback interface, however the others do."""

    def came_at(address: str) -> Connection:
        return Connection(SimpleNamespace(getsockname=lambda: (address, 1)))

    assert _public_address({1: came_at("127.0.1.1"), 2: came_at("10.0.0.5")}) == "10.0.0.5"
    assert _public_address({1: came_at("127.0.1.1")}) == "127.0.1.1"


def test_gloo_takes_the_rendezvous_interface_unless_the_user_named_one(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "x")  # so that what is set here is undone
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    _choose_interface("192.0.2.77")
    assert "GLOO_SOCKET_IFNAME" not in os.environ, "nobody has this address"
    _choose_interface("127.0.1.1")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib0")
    _choose_interface("127.0.0.1")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "ib0"


def test_an_absent_rank_is_named_on_every_rank_and_waiting_is_logged(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rendezvous_module, "_REPORT_SEC", 0.3)
    first, second = texts(rendezvous_all(3, tmp_path, limit_sec=1.0, rank2=None))
    assert first == second
    assert re.search(r"\b1 s \(DIST_TIMEOUT_SEC\).*\b2 of 3 processes\b.*\bmissing: process 2\.", first)
    assert re.search(r"\bprocess 0 of 3 waits\b.*\bprocess", capsys.readouterr().err)


def test_without_rank_0_the_others_report_that_nothing_listens(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rendezvous_module, "_REPORT_SEC", 0.3)
    (message,) = texts(rendezvous_all(2, tmp_path, limit_sec=1.0, rank0=None))
    assert "process 1 of 2 on" in message and "connection refused" in message
    assert re.search(r"\bprocess 1 of 2 waits\b.*\bprocess 0 at 127\.0\.0\.1\b", capsys.readouterr().err)


def test_an_unknown_name_is_refused(tmp_path):
    context = LaunchContext("shards", 1, 2, host="no-such-machine.invalid", port=9999)
    with pytest.raises(RendezvousError, match=r"0.*no-such-machine\.invalid:9999"):
        rendezvous(context, LaunchConfig(folder=tmp_path, timeout_sec=0.5, must_match=ABOUT))


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("", 0)) as other_program:
        port = {"port": other_program.getsockname()[1]}
        messages = texts(rendezvous_all(2, tmp_path, limit_sec=1.0, rank0=port, rank1=port))
    assert all(
        part in messages[0] for part in (f"Port {port['port']} ", os.strerror(errno.EADDRINUSE), "--init_method")
    )
    assert "something else answers there" in messages[1]


def test_two_with_the_same_number(tmp_path):
    messages = texts(rendezvous_all(3, tmp_path, rank2={"rank": 1}))
    assert len(set(messages)) == 1 and "number 1 of 3" in messages[0] and "--shard_id" in messages[0]
    assert len(re.findall(r"\bpid \d+ on\b", messages[0])) == 2


def test_two_worlds(tmp_path):
    messages = texts(rendezvous_all(2, tmp_path, rank1={"world_size": 4}))
    assert len(set(messages)) == 1 and " 4 processes are to train together, on " in messages[0]


@pytest.mark.parametrize(
    ("must_match", "message"),
    [
        (ABOUT | {"code": "0.1.0+xyz"}, "The code of process 1 on .* 0.1.0.xyz there, 0.1.0.abc here"),
        (
            ABOUT | {"config": {"SOLVER.BASE_LR": "0.2", "RNG_SEED": "1"}},
            "config of .* SOLVER.BASE_LR is 0.2 there, 0.1",
        ),
        (ABOUT | {"config": ABOUT["config"] | {"NEW": "1"}}, "NEW is 1 there, None here"),
    ],
)
def test_unequal_code_or_config(tmp_path, must_match, message):
    found = texts(rendezvous_all(3, tmp_path, rank1={"must_match": must_match}))
    assert len(set(found)) == 1 and re.search(message, found[0]), found[0]


def test_a_folder_of_the_same_name_that_is_another(tmp_path, monkeypatch):
    monkeypatch.setattr(rendezvous_module, "_LOOK_SEC", 0.3)
    (tmp_path / "a").mkdir()
    for other in ("b", "never made"):
        found = texts(rendezvous_all(2, tmp_path / "a", rank1={"folder": tmp_path / other}))
        assert len(set(found)) == 1 and f"OUTPUT_DIR {tmp_path / 'a'} on" in found[0] and "not visible" in found[0]
    assert list((tmp_path / "a").iterdir()) == []


def test_who_comes_to_an_earlier_rendezvous_tries_again(tmp_path):
    messages = texts(rendezvous_all(2, tmp_path, limit_sec=1.0, rank1={"launch": 1}))
    assert "missing: process 1." in messages[0] and "has not reached process 0" in messages[1]


def test_strangers_at_the_door_change_nothing(tmp_path):
    port, done = free_port(), threading.Event()

    def stranger():
        while not done.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as listener:
                listener.sendall(b"GET / HTTP/1.1\r\n[]\n{}\n\xff\n")
            time.sleep(0.02)

    thread = threading.Thread(target=stranger)
    thread.start()
    try:
        time.sleep(0.1)
        found = rendezvous_all(2, tmp_path, rank0={"port": port}, rank1={"port": port})
    finally:
        done.set()
        thread.join()
    assert all(isinstance(result, tuple) for result in found), found


# ------------------------------------------------------------------------------------------------ afterwards


def test_a_fault_reaches_all_and_the_first_one_wins(three):
    learned = watch_all(three)
    assert three[2].report("the disk is full", 1)
    wait_until(lambda: learned[0] and learned[1])
    assert learned[0] == learned[1] == [{"rank": 2, "reason": "the disk is full", "exit_code": 1}]
    assert not three[0].report("a later one", 1) and not three[2].report("another of its own", 1)


def test_who_ends_without_a_word_is_named_by_all_that_remain(three):
    learned = watch_all(three)
    three[1].others[0].socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: learned[0] and learned[2])
    assert learned[2][0]["rank"] == 1 and "exited without reporting an error" in learned[2][0]["reason"]


def test_the_end_of_process_0_is_seen_by_each_of_the_others(three):
    learned = watch_all(three[1:])
    for connection in three[0].others.values():
        connection.socket.close()
    wait_until(lambda: all(learned))
    assert [faults[0]["rank"] for faults in learned] == [0, 0]


def test_silence_for_too_long_is_an_end(three):
    learned = watch_all(three[:2])  # process 2 neither speaks nor listens: it is stopped
    wait_until(lambda: all(learned))
    assert [faults[0]["rank"] for faults in learned] == [2, 2]
    assert re.search(r"\bnot answered\b.*\b2 s \(DIST_TIMEOUT_SEC\)", learned[1][0]["reason"])
    (awake,) = watch_all(three[2:])
    wait_until(lambda: awake)
    assert awake == learned[0], "it is told what it has missed, not that the others were killed"


def test_silence_of_process_0_is_seen_by_each_of_the_others(three):
    learned = watch_all(three[1:])
    wait_until(lambda: all(learned))
    assert [faults[0]["rank"] for faults in learned] == [0, 0]


def test_who_is_done_is_not_missed(three):
    learned = watch_all(three)
    three[1].close()
    three[2].close()
    wait_until(lambda: not three[0].others)
    three[0].close()
    assert learned == [[], [], []]


def test_the_time_that_a_process_itself_is_stopped_does_not_count(three, monkeypatch):
    """Ctrl-Z of the whole job, or a laptop asleep: when all go on, nobody has been silent for longer than a beat."""
    hours = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * hours[0], sleep=time.sleep)
    monkeypatch.setattr(control_channel, "time", clock)
    monkeypatch.setattr(control_channel, "BEAT_SEC", 0.1)
    learned = watch_all(three)
    for _ in range(3):
        time.sleep(0.3)
        hours[0] += 1
    assert learned == [[], [], []]


def test_two_processes_with_one_gpu_are_refused(tmp_path):
    gpus = {"rank0": {"gpu": "GPU-a"}, "rank1": {"gpu": "GPU-b"}, "rank2": {"gpu": "GPU-a"}}
    for text in texts(rendezvous_all(3, tmp_path, **gpus)):
        assert "Processes 0 and 2" in text and "GPU-a" in text and "DIST_BACKEND" in text
    found = rendezvous_all(3, tmp_path, **gpus | {"rank2": {"gpu": "GPU-c"}})
    for channel, _ in found:
        channel.close()

"""Checkpoints: whole or not there, newest readable one first, a full disk leaves the earlier ones."""

import hashlib
import logging
import os
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from process_threads import on_processes

from slowfast_gta.engine.checkpoint.checkpoint import (
    BEST,
    Position,
    find_newest,
    keep_best,
    list_checkpoints,
    remove_leftovers,
    remove_superseded,
    save_checkpoint,
    set_aside_unreadable,
    superseded,
)
from slowfast_gta.errors import RunError, WeightsError
from slowfast_gta.models.weights.read import load_torch_file


def state(value: float) -> dict:
    return {"model_state": {"w": torch.full((4,), value)}, "optimizer_state": {}}


def names(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "checkpoints").iterdir())


@pytest.fixture(autouse=True)
def spoken(caplog, monkeypatch):
    """Our logger does not propagate once a command has set it up."""
    monkeypatch.setattr(logging.getLogger("slowfast_gta"), "propagate", True)


def test_names_order_and_entries(tmp_path):
    for position in (Position(2), Position(1), Position(1, 30), Position(1, 7)):
        path = save_checkpoint(tmp_path, position, state(position.epoch))
        assert path.is_file()
    assert Position(1).file_name == "checkpoint_epoch_00001.pyth"
    assert Position(1, 7).file_name == "checkpoint_epoch_00002_step_000007.pyth"
    for name in ("my_notes.txt", "checkpoint_epoch_00009.pyth.tmp", "old_checkpoint_epoch_00009.pyth"):
        (tmp_path / "checkpoints" / name).touch()
    assert [position for position, _ in list_checkpoints(tmp_path)] == sorted(
        [Position(1), Position(1, 7), Position(1, 30), Position(2)]
    )
    position, content = find_newest(tmp_path)
    assert position == Position(2)
    inside = load_torch_file(tmp_path / "checkpoints" / Position(1, 7).file_name)
    assert (inside["epoch"], inside["step"]) == (1, 7), "epochs that are complete, steps of the next"
    assert content["step"] == 0
    assert content["epoch"] == 1, "PySlowFast writes the number of the epoch that is done, from 0"
    assert torch.equal(content["model_state"]["w"], torch.full((4,), 2.0))


def positions(*numbers: tuple[int, int]) -> list[Position]:
    return [Position(*pair) for pair in numbers]


@pytest.mark.parametrize(
    ("there", "keep", "gone"),
    [
        ([(1, 0)], 0, []),
        ([(1, 0), (1, 5)], 0, []),
        ([(1, 0), (1, 5), (1, 9)], 0, []),  # the newest, and the one before it
        ([(1, 0), (1, 3), (1, 5), (1, 9)], 0, [(1, 3)]),
        ([(1, 0), (1, 5), (1, 9), (2, 0)], 0, [(1, 5)]),
        ([(1, 0), (1, 9), (2, 0), (3, 0)], 0, [(1, 9)]),
        ([(1, 0), (2, 0), (3, 0)], 2, [(1, 0)]),
        ([(1, 0), (2, 0), (3, 0)], 1, [(1, 0), (2, 0)]),
        ([(1, 0), (2, 0), (2, 4)], 1, [(1, 0)]),
        ([(0, 4)], 1, []),
    ],
)
def test_which_checkpoints_go(there, keep, gone):
    assert superseded(positions(*there), keep) == positions(*gone)


def test_those_that_go_are_gone_and_no_others(tmp_path):
    for position in positions((1, 0), (1, 5), (1, 7), (1, 9)):
        save_checkpoint(tmp_path, position, state(1))
    remove_superseded(tmp_path, 0)
    left = ["checkpoint_epoch_00001.pyth", "checkpoint_epoch_00002_step_000007.pyth"]
    assert names(tmp_path) == [*left, "checkpoint_epoch_00002_step_000009.pyth"]


def test_the_best_outlives_those_that_go(tmp_path):
    best = save_checkpoint(tmp_path, Position(1), state(1))
    keep_best(best)
    save_checkpoint(tmp_path, Position(2), state(2))
    remove_superseded(tmp_path, 1)
    assert names(tmp_path) == [BEST, "checkpoint_epoch_00002.pyth"]
    assert torch.load(tmp_path / "checkpoints" / BEST, weights_only=True)["model_state"]["w"][0] == 1
    keep_best(tmp_path / "checkpoints" / "checkpoint_epoch_00002.pyth")
    assert torch.load(tmp_path / "checkpoints" / BEST, weights_only=True)["model_state"]["w"][0] == 2
    assert [position for position, _ in list_checkpoints(tmp_path)] == [Position(2)]


def test_the_best_is_a_second_name_also_where_a_kill_left_half_of_one(tmp_path):
    best = save_checkpoint(tmp_path, Position(1), state(1))
    (tmp_path / "checkpoints" / f"{BEST}.tmp").write_bytes(b"half")
    keep_best(best)
    assert names(tmp_path) == [BEST, "checkpoint_epoch_00001.pyth"] and best.samefile(tmp_path / "checkpoints" / BEST)
    keep_best(tmp_path / "checkpoints" / "checkpoint_epoch_00007.pyth")
    assert best.samefile(tmp_path / "checkpoints" / BEST), "what is not there becomes nothing"


def test_all_processes_read_what_the_main_one_chose(tmp_path, monkeypatch, caplog):
    """And it alone looks for it: the unreadable one is reported once."""
    for epoch in (1, 2):
        save_checkpoint(tmp_path, Position(epoch), state(epoch))
    (tmp_path / "checkpoints" / "checkpoint_epoch_00003.pyth").write_bytes(b"torn")
    found = on_processes(monkeypatch, 2, lambda rank: find_newest(tmp_path))
    for position, content in found:
        assert position == Position(2) and torch.equal(content["model_state"]["w"], torch.full((4,), 2.0))
    assert len(caplog.records) == 1


def test_the_best_where_there_are_no_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
    keep_best(save_checkpoint(tmp_path, Position(1), state(1)))
    assert torch.load(tmp_path / "checkpoints" / BEST, weights_only=True)["model_state"]["w"][0] == 1


def test_unfinished_files_of_a_killed_run_are_removed_and_logged(tmp_path, caplog):
    save_checkpoint(tmp_path, Position(1), state(1))
    (tmp_path / "checkpoints" / "checkpoint_epoch_00002.pyth.tmp").write_bytes(b"half")
    (tmp_path / "checkpoints" / "mine.tmp").touch()
    caplog.set_level(logging.INFO)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["checkpoint_epoch_00001.pyth", "mine.tmp"]
    removed = tmp_path / "checkpoints" / "checkpoint_epoch_00002.pyth.tmp"
    assert f"Removed the incomplete file {removed}." in caplog.text and caplog.text.count("Removed") == 1


def test_the_order_is_by_position_whatever_the_clock_shows(tmp_path):
    for number, position in enumerate(positions((3, 0), (2, 0), (2, 5), (1, 0))):
        path = save_checkpoint(tmp_path, position, state(position.epoch))
        os.utime(path, (1e9 + number, 1e9 + number))
    assert find_newest(tmp_path)[0] == Position(3)
    remove_superseded(tmp_path, 1)
    assert names(tmp_path) == ["checkpoint_epoch_00003.pyth", "checkpoint_epoch_00003_step_000005.pyth"]


def test_no_checkpoint_is_no_position(tmp_path):
    assert find_newest(tmp_path) is None


def test_a_crash_before_the_rename_leaves_the_old_ones(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, Position(1), state(1))

    class Crash(BaseException):
        pass

    def crash(self, target):
        raise Crash

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(Crash):
        save_checkpoint(tmp_path, Position(2), state(2))
    position, content = find_newest(tmp_path)
    assert position == Position(1) and content["model_state"]["w"][0] == 1


@pytest.mark.parametrize("size", [0, 100, 0.5, 0.98])
def test_a_torn_newest_checkpoint_is_reported_and_the_previous_one_loaded(tmp_path, caplog, size):
    save_checkpoint(tmp_path, Position(1), state(1))
    path = save_checkpoint(tmp_path, Position(2), state(2))
    content = path.read_bytes()
    path.write_bytes(content[: size if isinstance(size, int) else int(size * len(content))])
    position, content = find_newest(tmp_path)
    assert position == Position(1) and content["model_state"]["w"][0] == 1
    assert f"{path} cannot be read" in caplog.text and "Trying the previous checkpoint" in caplog.text
    assert path.exists(), "nothing changes before the run is accepted"
    set_aside_unreadable(tmp_path, position)
    assert names(tmp_path) == ["checkpoint_epoch_00001.pyth", "checkpoint_epoch_00002.unreadable"], "out of the way"


@pytest.mark.parametrize("index", [0, 7, 15])
def test_one_changed_bit_is_noticed(tmp_path, caplog, index):
    """torch itself reads such a file, and gives other weights."""
    save_checkpoint(tmp_path, Position(1), state(1))
    path = save_checkpoint(tmp_path, Position(2), state(2))
    content = bytearray(path.read_bytes())
    content[content.index(state(2)["model_state"]["w"].numpy().tobytes()) + index] ^= 1
    path.write_bytes(content)
    assert find_newest(tmp_path)[0] == Position(1)
    assert f"{path} cannot be read" in caplog.text


def test_no_changed_bit_changes_a_weight(tmp_path):
    """Of a file as torch, and PySlowFast, write it: each byte in turn. Some, as times of writing, change nothing."""
    path = tmp_path / "a.pyth"
    torch.save(state(1), path)
    content, refused = path.read_bytes(), 0
    for index in range(0, len(content), 7):
        path.write_bytes(content[:index] + bytes([content[index] ^ 4]) + content[index + 1 :])
        try:
            found = load_torch_file(path)
        except WeightsError:
            refused += 1
            continue
        assert torch.equal(found["model_state"]["w"], torch.ones(4)), index
    assert refused > 20


def test_a_checkpoint_with_the_digest_of_earlier_versions_is_read(tmp_path):
    """Their SHA-256 stands behind the archive, as its comment."""
    path = save_checkpoint(tmp_path, Position(1), state(1))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"sha256:" + hashlib.sha256(path.read_bytes()).hexdigest().encode()
    assert path.read_bytes()[-71:].startswith(b"sha256:")
    assert find_newest(tmp_path)[0] == Position(1)


def test_a_file_written_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state(1), tmp_path / "a.pyth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(load_torch_file(tmp_path / "a.pyth")["model_state"]["w"], torch.ones(4))


@pytest.mark.parametrize("missing", ["optimizer_state", "model_state"])
def test_a_newest_checkpoint_without_an_optimizer_or_a_network_is_not_loaded(tmp_path, caplog, missing):
    save_checkpoint(tmp_path, Position(1), state(1))
    path = save_checkpoint(tmp_path, Position(2), {name: {} for name in state(1) if name != missing})
    assert find_newest(tmp_path)[0] == Position(1)
    assert f"{path} has no {missing}" in caplog.text


def test_a_folder_whose_name_is_not_utf8_is_read_again(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run\xe9"))
    save_checkpoint(folder, Position(1), state(1))
    position, content = find_newest(folder)
    assert position == Position(1) and set(content) >= {"model_state", "optimizer_state"}


def test_all_torn_is_refused(tmp_path):
    for epoch in (1, 2):
        save_checkpoint(tmp_path, Position(epoch), state(1)).write_bytes(b"torn")
    with pytest.raises(WeightsError, match=rf"\bNo checkpoint in {tmp_path / 'checkpoints'} can be read \(of 2\)"):
        find_newest(tmp_path)
    assert names(tmp_path) == ["checkpoint_epoch_00001.pyth", "checkpoint_epoch_00002.pyth"], "asked again, the same"


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")])
def test_a_full_disk_is_reported_and_the_earlier_ones_are_whole(tmp_path, monkeypatch, fault):
    save_checkpoint(tmp_path, Position(1), state(1))

    def full(content, file):
        file.write(b"half of it")
        raise fault

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"checkpoint_epoch_00002\.pyth could not be written\b.*\bEarlier checkpoints\b"):
        save_checkpoint(tmp_path, Position(2), state(2))
    monkeypatch.undo()
    assert names(tmp_path) == ["checkpoint_epoch_00001.pyth"]
    assert find_newest(tmp_path)[0] == Position(1)


def test_what_torch_does_not_name_is_reported_with_the_free_space(tmp_path, monkeypatch):
    def full(content, file):
        raise RuntimeError("unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=7 * 256, f_frsize=4096))
    with pytest.raises(RunError, match=r"\b7 MiB"):
        save_checkpoint(tmp_path, Position(2), state(2))


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (order.append("rename"), replace(self, target))[1])
    save_checkpoint(tmp_path, Position(1), state(1))
    assert order == ["fsync", "rename", "fsync"]


def test_a_folder_that_somebody_removed_is_made_again(tmp_path, caplog):
    save_checkpoint(tmp_path, Position(1), state(1))
    shutil.rmtree(tmp_path / "checkpoints")
    save_checkpoint(tmp_path, Position(2), state(2))
    assert names(tmp_path) == ["checkpoint_epoch_00002.pyth"]


def test_every_reader_of_torch_s_files_reads_ours(tmp_path):
    path = save_checkpoint(tmp_path, Position(1), state(1))
    for mmap in (False, True):
        assert torch.equal(torch.load(path, weights_only=True, mmap=mmap)["model_state"]["w"], torch.ones(4))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "checkpoints").touch()
    with pytest.raises(RunError, match=r"checkpoint_epoch_00001.pyth could not be written: "):
        save_checkpoint(tmp_path, Position(1), state(1))


@pytest.mark.parametrize(
    "entry",
    [
        {"model_state": 3},
        {"optimizer_state": []},
        {"ema_state": [], "ema_steps": 1},
        {"ema_steps": "x"},
        {"origin": [1]},
        {"builds_on": "x"},
        {"global_step": [1]},
        {"random_state": {"python": 1}},
    ],
    ids=str,
)
def test_a_checkpoint_whose_entries_are_of_other_kinds_is_not_taken(tmp_path, entry):
    good = {"model_state": {}, "optimizer_state": {}}
    save_checkpoint(tmp_path, Position(1), good)
    save_checkpoint(tmp_path, Position(2), good | entry)
    assert find_newest(tmp_path)[0] == Position(1)

"""whole_file: the old content or the new one, never half of it."""

import os

import pytest

from slowfast_gta.files import UNFINISHED, whole_file, write_whole


def test_the_file_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, "old é")
    with whole_file(path) as file:
        file.write(b"new")
        assert path.read_text(encoding="utf-8") == "old é"
    assert path.read_bytes() == b"new" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("fault", [ValueError("no"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    path = tmp_path / "a.bin"
    write_whole(path, b"old")
    with pytest.raises(type(fault)), whole_file(path) as file:
        file.write(b"half")
        raise fault
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("synced", [False, True])
def test_a_full_disk_at_the_end_leaves_the_old_file(tmp_path, synced, monkeypatch):
    """/dev/full takes what is written into a buffer and refuses it when it is flushed."""
    path = tmp_path / "a.bin"
    write_whole(path, b"old")
    (tmp_path / f"a.bin{UNFINISHED}").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), whole_file(path, synced=synced) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]


def test_two_processes_that_write_one_path_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with whole_file(path, "w", shared=True) as file:
        [unfinished] = tmp_path.iterdir()
        assert str(os.getpid()) in unfinished.name and unfinished.name.endswith(UNFINISHED)
        write_whole(path, "another's")
        file.write("ours")
    assert path.read_text() == "ours" and [*tmp_path.iterdir()] == [path]


def test_what_a_killed_process_left_is_written_over(tmp_path):
    (tmp_path / f"a.txt{UNFINISHED}").write_text("half of something longer")
    write_whole(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole" and len([*tmp_path.iterdir()]) == 1


def test_a_folder_that_is_gone_is_an_error_of_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "a.txt", "x")


def test_a_shared_file_that_another_process_has_written_is_no_fault(tmp_path):
    with whole_file(tmp_path / "a", shared=True) as file:
        file.write(b"same")
        (tmp_path / "a").write_bytes(b"same")
        (left,) = tmp_path.glob("*.tmp")
        left.unlink()
    assert (tmp_path / "a").read_bytes() == b"same"
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "b", shared=True):
        (left,) = tmp_path.glob("*.tmp")
        left.unlink()

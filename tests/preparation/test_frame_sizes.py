"""How large frames will be, told before they are made; and what is told where they will not fit."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from made_videos import write_video

from slowfast_gta.commands import run_command
from slowfast_gta.preparation.frame_sizes import SizeEstimate, estimate_size

Usage = namedtuple("Usage", "total used free")


def size_on_disk(folder: Path) -> int:
    """In blocks of 4 KiB."""
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in folder.rglob("*.jpg"))


@pytest.fixture
def videos(tmp_path) -> Path:
    folder = tmp_path / "videos"
    for number in range(3):
        (folder / str(number)).mkdir(parents=True)
        write_video(folder / str(number) / "x.webm", 8 + 4 * number)
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_the_size_is_that_of_the_frames(videos, tmp_path, capsys, monkeypatch, workers):
    estimates: list[SizeEstimate] = []
    monkeypatch.setattr(
        "slowfast_gta.commands.prepare_data._print_size", lambda args, estimate: estimates.append(estimate)
    )
    command = ["extract-frames", str(videos), str(tmp_path / "frames"), "--workers", str(workers)]
    assert run_command("prepare_data", command) == 0
    (estimate,) = estimates
    assert estimate.num_videos == estimate.num_measured == 3
    assert estimate.num_bytes == pytest.approx(size_on_disk(tmp_path / "frames"), rel=0.25) and estimate.fits
    assert run_command("prepare_data", command) == 0
    assert len(estimates) == 1, "there is nothing left to make"


def test_the_message_comes_before_the_work_and_outside_the_json(videos, tmp_path, capsys):
    assert run_command("prepare_data", ["extract-frames", str(videos), str(tmp_path / "a"), "--workers", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "3 videos" in lines[0] and "GB" in lines[0] and "made" in lines[1]
    words = ["extract-frames", str(videos), str(tmp_path / "b"), "--workers", "1", "--json"]
    assert run_command("prepare_data", words) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["made"] == 3 and "GB" in printed.err


def test_a_full_disk_is_foreseen(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 10**6 - 5000, 5000))
    videos = [tmp_path / str(number) for number in range(20)]
    for number, video in enumerate(videos):
        video.write_bytes(bytes(100 * (number + 1)))
    # A frame for each 100 bytes, of two blocks.
    estimate = estimate_size(lambda path, most: (path.stat().st_size // 100, [5000] * 4), videos, tmp_path / "new", 1)
    assert estimate == SizeEstimate(20, 8, 210 * 8192, 8192, 5000)
    assert not estimate.fits and "--short-side" in estimate.summary()


def test_what_cannot_be_read_is_no_part_of_it(tmp_path):
    videos = [tmp_path / name for name in "abc"]
    for video in videos:
        video.write_bytes(bytes(100))

    def measure(path: Path, most: int) -> tuple[int, list[int]]:
        if path.name == "b":
            raise ValueError("broken")
        return 10, [4096] * most

    estimate = estimate_size(measure, videos, tmp_path, 1)
    assert (estimate.num_measured, estimate.num_bytes) == (2, 3 * 10 * 4096)
    none = estimate_size(measure, videos[1:2], tmp_path, 1)
    assert none.num_measured == none.num_bytes == 0 and "cannot be estimated" in none.summary()

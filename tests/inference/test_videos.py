"""Which videos a command line means, and what they are called."""

from pathlib import Path

import pytest
from made_videos import write_frames

from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.inference.videos import named_videos


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_folders_files_and_frames(tmp_path):
    folder = touched(tmp_path / "v", "b.mp4", "a.b.webm", "sub/c.avi", "notes.txt")
    write_frames(folder / "frames.01", 2)
    found = named_videos([str(folder), str(folder / "frames.01"), "gone.mp4"])
    assert [name for name, _ in found] == ["a.b", "b", "frames.01", "sub/c", "gone"]
    assert found[-1].path == "gone.mp4" and found[2].path == str(folder / "frames.01")


def test_lists_with_and_without_labels(tmp_path):
    touched(tmp_path, "a.mp4", "b c.mp4", "d 7", "e.mp4", "sub/f.mp4")
    lines = ["a.mp4", "b c.mp4 3", "d 7", "e.mp4 120 5", '"sub/f.mp4",4', str(tmp_path / "a.mp4"), "gone.mp4 2"]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    found = named_videos([str(tmp_path / "list.csv")])
    names = ["a.mp4", "b c.mp4", "d 7", "e.mp4", "sub/f.mp4", "gone.mp4"]
    assert [video.path for video in found] == [str(tmp_path / name) for name in names]
    assert [video.name for video in found] == ["a", "b c", "d 7", "e", "sub/f", "gone"]


def test_names_stay_inside_the_output(tmp_path):
    touched(tmp_path, "lists/a.txt", "b.mp4")
    (tmp_path / "lists" / "a.txt").write_text("../b.mp4\n")
    (video,) = named_videos([str(tmp_path / "lists" / "a.txt")])
    assert video.name == "b" and Path(video.path).exists()


def test_names_are_of_one_video_each(tmp_path):
    folder = touched(tmp_path, "x/a.mp4", "x/a.avi", "y/a.mp4")
    assert [v.name for v in named_videos([str(folder / "x")])] == ["a.avi", "a.mp4"]
    with pytest.raises(ConfigError, match="a"):
        named_videos([str(folder / "x"), str(folder / "y")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        named_videos([str(tmp_path / "empty")])

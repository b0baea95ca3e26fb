"""Made-up videos: in class folders, the same for a seed, moving as their class says, of any colour."""

import cv2
import numpy as np
import pytest

from slowfast_gta.commands import run_command
from slowfast_gta.datasets.folders import find_classes
from slowfast_gta.preparation.made_up import HEIGHT, NUM_FRAMES, WAYS, WIDTH, make_videos
from slowfast_gta.video.readers import open_video


def frames_of(path) -> np.ndarray:
    """float (T, H, W, 3)."""
    with open_video(str(path)) as video:
        return video.read(range(video.num_frames)).astype(float)


def test_the_shape_moves_as_its_class_and_no_colour_reveals_it(tmp_path):
    assert make_videos(tmp_path / "new", 12, seed=3) == dict.fromkeys(WAYS, 3)
    found = find_classes(tmp_path / "new")
    colours = []
    for name, (x, y) in WAYS.items():
        paths = sorted((tmp_path / "new" / name).iterdir())
        assert found.classes == sorted(WAYS) and len(paths) == 3
        for path in paths:
            frames = frames_of(path)
            assert frames.shape == (NUM_FRAMES, HEIGHT, WIDTH, 3)
            background = np.median(frames, axis=(0, 1, 2))
            colours.append(background)
            apart = [cv2.GaussianBlur(np.abs(frames[t] - background).sum(-1), (0, 0), 3) for t in (2, -3)]
            first, last = (np.argwhere(one > one.max() / 2).mean(0)[::-1] for one in apart)  # x, y
            way = last - first
            assert way @ (x, y) > max(20, abs(way @ (y, x))), (path, way)
    assert np.ptp(colours, axis=0).min() > 60


def test_a_seed_gives_the_same_frames_and_another_seed_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_videos(tmp_path / name, 1, seed)
    a, b, c = (frames_of(tmp_path / name / "down" / "000.mp4") for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_a_folder_in_use_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    (tmp_path / "file").touch()
    for name in ("mine", "file", "file/below"):
        assert run_command("prepare_data", ["made-up", str(tmp_path / name)]) == 1
        assert str(tmp_path / name) in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("words", [["--num", "0"], ["--seed", "-1"]])
def test_wrong_numbers_are_wrong_usage(tmp_path, capsys, words):
    assert run_command("prepare_data", ["made-up", str(tmp_path / "new"), *words]) == 2
    assert words[0] in capsys.readouterr().err and not (tmp_path / "new").exists()

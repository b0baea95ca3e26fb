"""Frames into a file: their times, their size, whole or not at all."""

import numpy as np
import pytest
from made_videos import number_of, numbered_frame
from videos_with_sound import frames_of

from slowfast_gta.errors import ConfigError
from slowfast_gta.video.output.writer import VideoWriter, container_of, save_video


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_times_are_kept_whatever_the_rate(tmp_path, suffix):
    times = [0.0, 0.1, 0.15, 0.9, 0.9, 2.5]
    path = tmp_path / f"a{suffix}"
    with path.open("wb") as file:
        writer = VideoWriter(file, container_of(path), (48, 64), 10.0)
        for number, time in enumerate(times):
            writer.write(numbered_frame(number), time)
        writer.close()
    found = frames_of(path)
    assert [number_of(image) for _, image in found] == list(range(6))
    assert [time for time, _ in found] == pytest.approx(times, abs=1.1e-3), "Matroska counts milliseconds"
    assert found[3][0] < found[4][0], "no two frames have one time"


def test_odd_sizes_get_their_last_row_and_column_again(tmp_path):
    save_video(tmp_path / "a.mp4", [numbered_frame(5, 49, 65)] * 2, [0.0, 1.0])
    found = frames_of(tmp_path / "a.mp4")
    assert [image.shape for _, image in found] == [(50, 66, 3)] * 3 and number_of(found[0][1][:48, :64]) == 5
    assert [time for time, _ in found] == pytest.approx([0, 1, 2]), "the last is shown as long as the others"


def test_colours_come_back(tmp_path):
    image = np.zeros((64, 64, 3), np.uint8)
    image[:] = (200, 40, 90)
    save_video(tmp_path / "a.mp4", [image], [float("nan")])
    assert np.abs(frames_of(tmp_path / "a.mp4")[0][1].astype(int) - image).max() < 12


def test_where_it_cannot_be_written(tmp_path):
    for name in ("a.webm", "a", "a.png"):
        with pytest.raises(ConfigError, match=r"\.mp4"):
            container_of(tmp_path / name)
    with pytest.raises(OSError):
        save_video(tmp_path / "gone" / "a.mp4", [numbered_frame(0)], [0.0])
    assert not list(tmp_path.iterdir())

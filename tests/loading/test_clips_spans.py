"""Parts of longer videos: exactly the frames between two times, or between two numbers, and no more is read."""

import re
import shutil

import av
import cv2
import numpy as np
import pytest
from made_videos import number_of, numbered_frame, write_video

from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.errors import DataError
from slowfast_gta.loading.clips import TestViews, TrainClips
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform, TrainTransform
from slowfast_gta.video.readers import open_video

FPS, LENGTH = 12, 96  # 8 s


@pytest.fixture(scope="module", params=[".mp4", ".webm"])
def long_video(request, tmp_path_factory):
    """96 numbered frames with keyframes every 12 or 8; the .mp4 has B-frames."""
    return write_video(tmp_path_factory.mktemp("long") / f"long{request.param}", LENGTH, fps=FPS)


def write_numbered(folder, numbers, pattern="frame_{:010d}.jpg"):
    folder.mkdir(parents=True)
    for number in numbers:
        cv2.imwrite(str(folder / pattern.format(number)), numbered_frame(number)[:, :, ::-1])
    return folder


def numbers_of(video) -> list[int]:
    return [number_of(frame) for frame in video.read(range(video.num_frames))]


@pytest.mark.parametrize(("first", "last"), [(0, 95), (0, 1), (1, 2), (7, 29), (12, 24), (40, 41), (60, 96), (95, 96)])
def test_a_part_of_a_file_is_the_frames_shown_between_two_times(long_video, first, last):
    with open_video(long_video, ((first - 0.1) / FPS, (last - 0.1) / FPS)) as video:
        assert (video.num_frames, video.fps, numbers_of(video)) == (last - first, FPS, list(range(first, last)))
        assert video.num_repeated == 0


@pytest.mark.parametrize("options", [{"movflags": "frag_keyframe+empty_moov"}, {"use_editlist": "0"}])
def test_every_part_of_files_whose_keyframes_are_shown_later_than_they_are_found(tmp_path, options):
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": "12", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(LENGTH):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        container.mux(stream.encode())
    for first in range(LENGTH - 5):
        with open_video(path, ((first - 0.1) / FPS, (first + 4.9) / FPS)) as video:
            assert numbers_of(video) == list(range(first, first + 5)) and video.num_repeated == 0


def test_single_frames_of_a_part(long_video):
    with open_video(long_video, (2.0, 6.0)) as video:
        assert [number_of(frame) for frame in video.read([5, 5, 30, 47])] == [29, 29, 54, 71]
        assert [number_of(frame) for frame in video.read([0])] == [24]


def test_only_the_part_is_demultiplexed(long_video):
    with open_video(long_video, (5.0, 5.5)) as video:
        assert len(video._index.table) < 40


def test_a_part_beyond_the_end_is_refused_but_for_a_little(long_video):
    with open_video(long_video, (6.0, 8.1)) as video:
        assert numbers_of(video) == list(range(72, 96))
    for span in ((7.0, 12.0), (20.0, 21.0)):
        asked = f"{span[0]:.2f} s to {span[1]:.2f} s"
        with pytest.raises(DataError, match=rf"{re.escape(str(long_video))}\b.*\b{asked}\b.*\b8\.0\d s"):
            open_video(long_video, span)


def test_a_file_without_times_has_no_parts(tmp_path):
    with pytest.raises(DataError, match=r"/x\.avi: .*\(avi\)"):
        open_video(write_video(tmp_path / "x.avi", 30), (0.5, 1.0))


@pytest.mark.parametrize("pattern", ["frame_{:010d}.jpg", "{:06d}.jpg", "a{{b}}_{:03d}.JPG"])
def test_a_part_of_a_folder_is_the_frames_between_two_numbers(tmp_path, pattern):
    folder = write_numbered(tmp_path / "frames", range(1, 31), pattern)
    (folder / ".DS_Store").write_text("")
    with open_video(folder, (7, 12)) as video:
        assert (video.num_frames, numbers_of(video)) == (6, [7, 8, 9, 10, 11, 12])


def test_missing_numbers_are_replaced_by_near_ones_inside_the_part_and_counted(tmp_path):
    folder = write_numbered(tmp_path / "frames", [*range(1, 20), *range(22, 31)])
    with open_video(folder, (15, 32)) as video:
        found = numbers_of(video)
        assert video.num_repeated == 4
    assert found == [15, 16, 17, 18, 19, 19, 22, *range(22, 31), 30, 30]
    with (
        open_video(folder, (20, 21)) as video,
        pytest.raises(DataError, match=r"0000000020\.jpg: .*\bframes 20 to 21\b"),
    ):
        video.read([0])
    with open_video(folder, (28, 60)) as video, pytest.raises(DataError, match=r"asks for frames 28 to 60"):
        video.read([20])


def test_folders_that_hold_no_part(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: there are no frames"):
        open_video(tmp_path / "empty", (1, 2))


def test_clips_stay_inside_their_part(long_video, tmp_path):
    """Training and testing, whatever the seed: never a frame of the neighbours."""
    folder = write_numbered(tmp_path / "frames", range(1, 61))
    records = [
        VideoRecord(str(long_video), (1, 2), "a", span=(2.0, 4.0)),
        VideoRecord(str(folder), (0, 0), "b", span=(24, 47)),
    ]
    for kind in ("segment", "dense"):
        sampling = ClipSampling(kind, 4, 3, FPS, False)
        train = TrainTransform(48, (48, 64), (1.0,), (48, 48), False, flip=False)
        clips = TrainClips(records, sampling, train, [[0, 1, 2], [0, 1, 2]], seed=0)
        views = TestViews(records, sampling, TestTransform(48, (48, 64), 1), 3)
        seen = [clips[epoch, index] for epoch in range(6) for index in (0, 1)] + [views[0], views[1]]
        for item in seen:
            assert item.errors == () and item.label in ((1, 2), (0, 0))
        frames = [np.ascontiguousarray(clip.permute(1, 2, 3, 0).numpy()) for item in seen[-2:] for clip in item.frames]
        centre = [numbered_frame(number)[:, 8:56] for number in range(LENGTH)]
        for clip in frames:
            for frame in clip:
                errors = [np.abs(frame.astype(int) - other).mean() for other in centre]
                assert 24 <= int(np.argmin(errors)) <= 47
    shutil.rmtree(folder)
    assert "cannot be reached" in views[1].errors[0][1] or "no such file" in views[1].errors[0][1]


def test_the_mirror_image_must_be_allowed_by_every_output(tmp_path):
    folder = write_numbered(tmp_path / "frames", range(1, 9))
    transform = TrainTransform(48, (48, 48), (1.0,), (48, 48), False, flip=True)

    def mirrored(mirror_labels) -> int:
        record = VideoRecord(str(folder), (1, 2), "a", span=(3, 3))
        clips = TrainClips([record], ClipSampling("segment", 1, 1, FPS, False), transform, mirror_labels, seed=0)
        images = {clips[epoch, 0].frames.numpy().tobytes() for epoch in range(12)}
        return len(images) - 1

    assert mirrored([[None, 1], [None, None, 2]]) == 1
    assert mirrored([[None, 1], [0, 1, None]]) == mirrored([[0, None], [0, 1, 2]]) == 0

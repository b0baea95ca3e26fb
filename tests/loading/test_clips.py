"""Clips: what their random numbers derive from, and the order of a test's views."""

import numpy as np
import pytest
import torch
from made_videos import number_of, write_video

from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.loading.clips import TestViews, TrainClips
from slowfast_gta.loading.compact import VideoRecords
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform, TrainTransform

SAMPLING = ClipSampling("dense", 4, 2, 12, False)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    """A video of 96 numbered frames."""
    return str(write_video(tmp_path_factory.mktemp("video") / "a.webm", 96))


def first_frames(path: str, seed: int, epoch: int) -> list[int]:
    """Of the clips of five records of one video: the numbers of their first frames."""
    records = VideoRecords([VideoRecord(path, 0, str(number)) for number in range(5)])
    whole = TrainTransform(48, (48, 48), (1.0,), (48, 48), False, flip=False)
    clips = TrainClips(records, SAMPLING, whole, [None], seed)
    return [number_of(clips[(epoch, index)].frames[0].permute(1, 2, 3, 0)[0].numpy()) for index in range(5)]


def test_a_clip_derives_from_seed_epoch_and_record(path):
    base = first_frames(path, 1, 3)
    assert base == first_frames(path, 1, 3) and len(set(base)) > 1, "records of one video have clips of their own"
    for seed, epoch in ((2, 3), (1, 4), (3, 1)):
        assert first_frames(path, seed, epoch) != base, (seed, epoch)


def test_a_replacement_derives_from_its_attempt(path, tmp_path):
    """One broken video before it: it is the clip of (seed, epoch, index, 1)."""
    (tmp_path / "broken.webm").write_text("not a video")
    paths = [str(tmp_path / "broken.webm"), path]
    whole = TrainTransform(48, (48, 48), (1.0,), (48, 48), False, flip=False)
    records = VideoRecords([VideoRecord(one, 0, str(number)) for number, one in enumerate(paths)])
    item = TrainClips(records, SAMPLING, whole, [None], 1, replace=True)[(3, 0)]
    assert item.index == 1 and [bad.video_id for bad in item.errors] == ["0"]
    wanted = SAMPLING.train(96, 12.0, np.random.default_rng([1, 3, 0, 1]))
    assert [number_of(frame.numpy()) for frame in item.frames[0].permute(1, 2, 3, 0)] == wanted


def test_views_are_clips_and_in_each_of_them_crops(path):
    views = TestViews([VideoRecord(path, 0, "a")], SAMPLING, TestTransform(32, (48, 64), 3), num_clips=2)[0]
    clips = [TestViews([VideoRecord(path, 0, "a")], SAMPLING, TestTransform(32, (48, 64), 1), 2)[0].frames]
    assert views.view_id == (0, 1, 2, 3, 4, 5)
    centres = views.frames[[1, 4]]
    assert torch.equal(centres, clips[0]), "view = clip x crops + crop"

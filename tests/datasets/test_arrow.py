"""Every video forwards and backwards: two classes, split by source."""

from collections import Counter

import pytest
import torch

from slowfast_gta import load_config
from slowfast_gta.datasets.arrow import ArrowOfTime
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.records import VideoDataset, VideoRecord
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.loading.compact import VideoRecords
from slowfast_gta.loading.loader import build_test_loader, build_train_loader

LISTS = {
    "train": [VideoRecord("a.mp4", 0, "a0", span=(0.0, 1.0)), VideoRecord("b.mp4", 1, "b0")],
    "val": [
        VideoRecord("a.mp4", 1, "a1", span=(1.0, 2.0)),
        VideoRecord("c.mp4", 0, "c0"),
        VideoRecord("d.mp4", 1, "d0"),
    ],
}


class Listed(VideoDataset):
    def records(self, split: str) -> list[VideoRecord]:
        return LISTS["train" if split == "train" else "val"]


def test_each_video_is_there_both_ways():
    records = ArrowOfTime(Listed("here")).records("train")
    assert [(record.video_id, record.label, record.backwards) for record in records] == [
        *(("a0.forwards", 0, False), ("a0.backwards", 1, True)),
        *(("b0.forwards", 0, False), ("b0.backwards", 1, True)),
    ]
    assert records[1].span == (0.0, 1.0)
    assert list(VideoRecords(records)) == records
    assert VideoRecords(records).digest() != VideoRecords(records[::2] * 2).digest()


def test_a_source_that_trains_is_not_tested(caplog):
    records = ArrowOfTime(Listed("here")).records("val")
    assert {record.path for record in records} == {"c.mp4", "d.mp4"}
    assert "1 of 3 videos" in caplog.text


def test_only_some_classes():
    assert {record.path for record in ArrowOfTime(Listed("here"), [1]).records("test")} == {"a.mp4", "d.mp4"}
    with pytest.raises(DataError, match=r"ARROW\.CLASSES"):
        ArrowOfTime(Listed("here"), [7]).records("val")


SMALL = {
    **{"TRAIN.DATASET": "ArrowOfTime", "TEST.DATASET": "ArrowOfTime", "ARROW.DATASET": "Synthetic"},
    **{"MODEL.NUM_CLASSES": 2, "ARROW.CLASSES": [0, 2], "DATA_LOADER.NUM_WORKERS": 0, "DATA.RANDOM_FLIP": False},
    "SYNTHETIC": {"NUM_TRAIN": 18, "NUM_VAL": 18, "NUM_FRAMES": 24, "HEIGHT": 36, "WIDTH": 48},
    "DATA": {"RESIZE": [30, 40], "TRAIN_CROP_SIZE": 28, "TEST_CROP_SIZE": 28, "MULTI_SCALES": [1.0]},
    "TRAIN.BATCH_SIZE": 4,
}


def test_the_test_clip_backwards_is_the_clip_in_reverse(tmp_path):
    cfg = load_config("configs/Synthetic/R2D.yaml", SMALL | {"DATA.PATH_TO_DATA_DIR": str(tmp_path)})
    batches = list(build_test_loader(cfg, "test"))
    clips = {video: frames for batch in batches for video, frames in zip(batch.video_id, batch.frames, strict=True)}
    assert Counter(video.split(".")[1] for video in clips) == {"forwards": 2, "backwards": 2}
    for video, clip in clips.items():
        other = clips[video.replace("forwards", "backwards")]
        if video.endswith("forwards"):
            assert torch.equal(clip.flip(1), other) and not torch.equal(clip, other)
    (batch,) = build_train_loader(cfg)
    assert sorted(batch.label.tolist()) == [0, 0, 1, 1] and batch.frames.dtype == torch.uint8


def test_what_it_cannot_wrap_is_refused(tmp_path):
    keys = SMALL | {"DATA.PATH_TO_DATA_DIR": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"ARROW\.DATASET is ArrowOfTime, which refers to itself"):
        build_dataset(load_config("configs/Synthetic/R2D.yaml", keys | {"ARROW.DATASET": "ArrowOfTime"}), "train")
    with pytest.raises(ConfigError, match=r"ARROW\.DATASET"):
        build_dataset(load_config("configs/Synthetic/R2D.yaml", keys | {"ARROW.DATASET": "Nothing"}), "train")
    with pytest.raises(ConfigError, match=r"ARROW\.CLASSES"):
        build_dataset(load_config("configs/Synthetic/R2D.yaml", keys | {"ARROW.CLASSES": ["cover"]}), "train")

"""Loaders: which video when, the same clips whatever the workers, every view once, and broken videos by policy."""

import json
import os
import re
import signal
from collections import Counter
from itertools import chain, product
from pathlib import Path

import numpy as np
import pytest
import torch
from made_videos import write_video

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.errors import ConfigError, DataError, RunError
from slowfast_gta.loading import loader as loader_module
from slowfast_gta.loading.loader import TestBatchSampler, TrainBatchSampler, build_test_loader, build_train_loader

CLASSES = ["Moving something left to right", "Closing something", "Turning leftover food"]
NUM_TRAIN, NUM_VAL = 14, 7


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """A Something-Something v2 of real .webm: 14 videos to train on, 7 to validate."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "20bn-something-something-v2"
    folder.mkdir()
    entries = []
    for number in range(NUM_TRAIN + NUM_VAL):
        write_video(folder / f"{number}.webm", 8 + number)
        entries.append({"id": str(number), "template": CLASSES[number % 3].replace("something", "[something]")})
    contents = {
        "labels": {name: str(label) for label, name in enumerate(CLASSES)},
        "train": entries[:NUM_TRAIN],
        "validation": entries[NUM_TRAIN:],
    }
    for word, content in contents.items():
        (root / f"something-something-v2-{word}.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def cfg(data_dir):
    cfg = get_defaults()
    cfg.MODEL.NUM_CLASSES = 3
    cfg.TRAIN.DATASET = cfg.TEST.DATASET = "SSv2"
    cfg.TRAIN.BATCH_SIZE = 4
    cfg.TEST.BATCH_SIZE = 12
    cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS = 2, 3
    data = cfg.DATA
    data.PATH_TO_DATA_DIR = str(data_dir)
    data.SAMPLING, data.NUM_FRAMES, data.RESIZE = "segment", 4, [48, 64]
    data.TRAIN_CROP_SIZE = data.TEST_CROP_SIZE = 32
    cfg.DATA_LOADER.NUM_WORKERS = 0
    return cfg


def _epoch(cfg, epoch: int = 0, start_step: int = 0) -> list[dict]:
    return list(build_train_loader(cfg).epoch(epoch, start_step))


def _same(one: list[dict], other: list[dict]) -> bool:
    return len(one) == len(other) and all(
        a.video_id == b.video_id and torch.equal(a.frames, b.frames) for a, b in zip(one, other, strict=True)
    )


def _broken_copy(cfg, tmp_path: Path, broken: list[int]) -> None:
    """Points `cfg` to videos of which some are text files."""
    source = Path(cfg.DATA.PATH_TO_DATA_DIR) / "20bn-something-something-v2"
    for path in source.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for number in broken:
        (tmp_path / f"{number}.webm").unlink()
        (tmp_path / f"{number}.webm").write_text("not a video")
    cfg.DATA.PATH_PREFIX = str(tmp_path)


def test_training_batches(cfg):
    batches = _epoch(cfg)
    assert len(batches) == len(build_train_loader(cfg)) == NUM_TRAIN // 4
    for batch in batches:
        assert batch.frames.shape == (4, 3, 4, 32, 32) and batch.frames.dtype == torch.uint8
        assert batch.frames.permute(0, 2, 3, 4, 1).is_contiguous()
        assert batch.label.tolist() == [int(video_id) % 3 for video_id in batch.video_id]
        assert batch.index.tolist() == [int(video_id) for video_id in batch.video_id]
        assert batch.errors == [] and batch.num_repeated == 0
    seen = Counter(video_id for batch in batches for video_id in batch.video_id)
    assert set(seen.values()) == {1}
    assert _same(batches, list(build_train_loader(cfg))), "without a number: epoch 0"


def test_epochs_and_seeds_differ_and_repeat(cfg):
    first = _epoch(cfg, 3)
    assert _same(first, _epoch(cfg, 3))
    assert not _same(first, _epoch(cfg, 4))
    cfg.RNG_SEED = 2
    assert not _same(first, _epoch(cfg, 3))


def test_the_order_follows_from_seed_and_epoch():
    """Naively: item k of the epoch is (epoch, k-th of the permutation drawn with both numbers)."""
    orders = {}
    for seed, epoch in product((0, 1, 7), (0, 1, 7)):
        order = TrainBatchSampler(103, 8, seed, 0, 1)
        order.epoch = epoch
        orders[seed, epoch] = [item for batch in order for item in batch]
        wanted = np.random.default_rng([seed, epoch]).permutation(103)[:96].tolist()
        assert orders[seed, epoch] == [(epoch, index) for index in wanted]
    assert len({tuple(index for _, index in items) for items in orders.values()}) == 9


def test_a_video_gives_another_clip_in_another_epoch(cfg):
    clips = build_train_loader(cfg).clips
    assert torch.equal(clips[(5, 2)].frames, clips[(5, 2)].frames)
    assert not torch.equal(clips[(5, 2)].frames, clips[(6, 2)].frames)
    assert not torch.equal(clips[(5, 2)].frames, clips[(2, 5)].frames)


def test_an_epoch_resumes_from_a_step(cfg):
    assert _same(_epoch(cfg, 1)[2:], _epoch(cfg, 1, start_step=2))


def test_workers_give_the_same_clips_and_live_on(cfg):
    expected = [_epoch(cfg, epoch) for epoch in range(2)]
    cfg.DATA_LOADER.NUM_WORKERS = 2
    loader = build_train_loader(cfg)
    assert _same(list(loader.epoch(0)), expected[0])
    next(loader.epoch(5))  # an epoch that is left after one step
    assert _same(list(loader.epoch(1)), expected[1])
    views = list(build_test_loader(cfg, "val"))
    assert [video_id for batch in views for video_id in batch.video_id] == [str(n) for n in range(14, 21)]


def test_a_killed_worker_is_reported(cfg):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch loaders of other tests have left their own
    cfg.DATA_LOADER.NUM_WORKERS = 1
    loader = build_train_loader(cfg)
    batches = loader.epoch(0)
    next(batches)
    handler = signal.getsignal(signal.SIGCHLD)
    assert handler is signal.SIG_DFL  # torch's own, which raises anywhere in the program, is gone
    os.kill(loader._batches._iterator._workers[0].pid, signal.SIGKILL)
    with pytest.raises(RunError, match=r"was killed.*NUM_WORKERS \(now 1\)"):
        for _ in range(3):
            list(loader.epoch(1))
    assert len(list(loader.epoch(1))) == 3  # and new ones are started when it is used again


def test_a_worker_that_is_killed_with_the_lock_of_the_end_hangs_nothing(cfg, monkeypatch):
    """Seen once in thousands: torch then waits for the lock for ever."""
    cfg.DATA_LOADER.NUM_WORKERS = 2
    loader = build_train_loader(cfg)
    batches = loader.epoch(0)
    next(batches)
    iterator = loader._batches._iterator
    end = iterator._workers_done_event
    monkeypatch.setattr(end, "_patience_sec", 0.2)
    assert end._event._cond.acquire(timeout=60)  # as the one that is killed would hold it
    workers = list(iterator._workers)
    workers[0].kill()
    with pytest.raises(RunError, match="was killed"):
        for _ in range(3):
            list(loader.epoch(1))
    del iterator, batches
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert len(list(loader.epoch(1))) == 3


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_each_batch(world_size):
    orders = [TrainBatchSampler(103, 8, 7, rank, world_size) for rank in range(world_size)]
    alone = TrainBatchSampler(103, 8, 7, 0, 1)
    for order in [*orders, alone]:
        order.epoch = 2
    for shares, whole in zip(zip(*orders, strict=True), alone, strict=True):
        assert [pair for share in shares for pair in share] == whole
    assert len(list(alone)) == len(alone) == 12


def some_sizes(number: int, at_least: int) -> list[tuple[int, int, int]]:
    """(videos, videos a batch, processes): small ones, where something is left over, and any."""
    chosen = np.random.default_rng(0)
    any_size = zip(*(chosen.integers(at_least, most, number).tolist() for most in (300, 40, 10)), strict=True)
    small = product(range(at_least, 14), range(1, 5), range(1, 6))
    return [(videos, max(1, batch), max(1, processes)) for videos, batch, processes in [*small, *any_size]]


def test_every_video_is_tested_once_however_many_there_are():
    for num_videos, videos_per_batch, world_size in some_sizes(500, at_least=0):
        orders = [TestBatchSampler(num_videos, videos_per_batch, rank, world_size) for rank in range(world_size)]
        indices = [index for order in orders for batch in order for index in batch]
        assert sorted(indices) == list(range(num_videos)), (num_videos, videos_per_batch, world_size)
        assert all(len(list(order)) == len(order) for order in orders)


def test_a_test_resumes_from_a_step():
    whole = list(order := TestBatchSampler(20, 3, 1, 2))
    order.start_step = 2
    assert list(order) == whole[2:] == [[15, 16, 17]] and whole[:2] == [[3, 4, 5], [9, 10, 11]]


def test_an_epoch_is_the_same_clips_however_many_processes_share_it():
    for num_videos, batch_size, world_size in some_sizes(200, at_least=1):
        orders = [TrainBatchSampler(num_videos, batch_size, 3, rank, world_size) for rank in range(world_size)]
        alone = TrainBatchSampler(num_videos, batch_size, 3, 0, 1)
        shared = [list(chain.from_iterable(shares)) for shares in zip(*orders, strict=True)]
        assert shared == list(alone), (num_videos, batch_size, world_size)
        seen = [index for batch in shared for _, index in batch]
        assert len(seen) == len(set(seen)) == num_videos - num_videos % batch_size


@pytest.mark.parametrize(("num_workers", "world_size"), [(0, 2), (0, 3), (3, 1), (1, 2)])
def test_the_same_clips_and_views_whatever_the_workers_and_processes(cfg, monkeypatch, num_workers, world_size):
    def read() -> tuple[dict, dict]:
        """{(step, video): clip}, {(video, view): frames}; each only once."""
        clips, views = {}, {}
        for rank in range(world_size):
            monkeypatch.setattr(loader_module, "get_rank", lambda rank=rank: rank)
            for step, batch in enumerate(build_train_loader(cfg).epoch(2)):
                for video_id, clip in zip(batch.video_id, batch.frames, strict=True):
                    assert (step, video_id) not in clips
                    clips[step, video_id] = clip
            for batch in build_test_loader(cfg, "test"):
                for video_id, view, frames in zip(batch.video_id, batch.view_id, batch.frames, strict=True):
                    assert (video_id, int(view)) not in views
                    views[video_id, int(view)] = frames
        return clips, views

    def same(one: dict, other: dict) -> bool:
        return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)

    monkeypatch.setattr(loader_module, "get_world_size", lambda: world_size)
    cfg.DATA_LOADER.NUM_WORKERS = num_workers
    clips, views = read()
    monkeypatch.setattr(loader_module, "get_world_size", lambda: 1)
    world_size, cfg.DATA_LOADER.NUM_WORKERS = 1, 0
    alone_clips, alone_views = read()
    assert len(clips) == 12 and len(views) == NUM_VAL * 6
    assert same(clips, alone_clips) and same(views, alone_views)


def test_test_batches_hold_all_views_of_a_video(cfg):
    loader = build_test_loader(cfg, "test")
    batches = list(loader)
    assert len(batches) == len(loader) == 4  # 12 views at a time are 2 videos of 6
    for batch in batches[:3]:
        assert batch.frames.shape == (12, 3, 4, 32, 32)
        assert batch.view_id.tolist() == [0, 1, 2, 3, 4, 5] * 2
        assert batch.label.tolist() == [int(video_id) % 3 for video_id in batch.video_id]
    seen = Counter((i, v) for b in batches for i, v in zip(b.video_id, b.view_id.tolist(), strict=True))
    assert len(seen) == NUM_VAL * 6 and set(seen.values()) == {1}


def test_views_are_really_different_clips(cfg):
    views = build_test_loader(cfg, "test").clips[6].frames
    assert len({view.numpy().tobytes() for view in views}) == 6
    assert not torch.equal(views[0][:, 0], views[3][:, 0])  # another first frame, not only another crop


def test_a_video_is_decoded_once_for_all_its_views(cfg, monkeypatch):
    opened = []
    open_video = loader_module.TestViews.__getitem__.__globals__["open_video"]
    monkeypatch.setitem(
        loader_module.TestViews.__getitem__.__globals__,
        "open_video",
        lambda path, span, timeout_sec: opened.append(path) or open_video(path, span),
    )
    list(build_test_loader(cfg, "test"))
    assert len(opened) == NUM_VAL


def test_validation_is_one_centre_view(cfg):
    views = build_test_loader(cfg, "val").clips[0].frames
    cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS = 1, 3
    three = build_test_loader(cfg, "test").clips[0].frames
    assert len(views) == 1 and torch.equal(views[0], three[1])
    for positions in ("exact", "uniform"):
        cfg.TEST.CLIP_POSITIONS = positions
        assert build_test_loader(cfg, "val").clips.sampling.positions == "uniform"
        assert build_test_loader(cfg, "test").clips.sampling.positions == positions


def test_a_broken_video_is_skipped_and_reported(cfg, tmp_path):
    _broken_copy(cfg, tmp_path, [3])
    cfg.DATA.ON_ERROR, cfg.TRAIN.BATCH_SIZE = "skip", NUM_TRAIN
    (batch,) = _epoch(cfg)
    assert len(batch.frames) == len(batch.label) == NUM_TRAIN - 1 and "3" not in batch.video_id
    ((video_id, message, *_),) = batch.errors
    assert video_id == "3" and "3.webm: this is not a video" in message


def test_a_step_of_which_nothing_is_left(cfg, tmp_path):
    _broken_copy(cfg, tmp_path, list(range(NUM_TRAIN)))
    for policy in ("skip", "replace"):
        cfg.DATA.ON_ERROR = policy
        batch = next(build_train_loader(cfg).epoch(0))
        assert batch.frames is None and len(batch.label) == 0 == batch.video_counts["num_decoded"]
        assert batch.video_counts["num_requested"] == batch.video_counts["num_skipped"] == 4


def test_a_broken_video_is_replaced_within_its_class(cfg, tmp_path):
    _broken_copy(cfg, tmp_path, [3, 6])
    cfg.DATA.ON_ERROR, cfg.TRAIN.BATCH_SIZE = "replace", NUM_TRAIN
    (batch,) = _epoch(cfg)
    assert len(batch.frames) == NUM_TRAIN
    assert Counter(batch.label.tolist()) == {0: 5, 1: 5, 2: 4}
    assert not {"3", "6"} & set(batch.video_id)
    assert {bad.video_id for bad in batch.errors} == {"3", "6"}
    (again,) = _epoch(cfg)
    assert again.video_id == batch.video_id


def test_testing_lists_what_it_cannot_read(cfg, tmp_path):
    _broken_copy(cfg, tmp_path, [15, 16, 17])
    cfg.DATA.ON_ERROR = "replace"  # which testing never does
    batches = list(build_test_loader(cfg, "test"))
    assert [bad.video_id for batch in batches for bad in batch.errors] == ["15", "16", "17"]
    assert {video_id for batch in batches for video_id in batch.video_id} == {"14", "18", "19", "20"}
    assert batches[1].frames is None and len(batches[1].label) == 0  # 16 and 17


def test_too_few_videos_for_a_batch(cfg):
    cfg.TRAIN.BATCH_SIZE = NUM_TRAIN + 1
    with pytest.raises(DataError, match=r"14.*TRAIN\.BATCH_SIZE 15"):
        build_train_loader(cfg)


def test_a_batch_that_is_smaller_than_the_processes_are_many(cfg, monkeypatch):
    monkeypatch.setattr(loader_module, "get_world_size", lambda: 5)
    with pytest.raises(ConfigError, match=r"TRAIN\.BATCH_SIZE.*4,.*5"):
        build_train_loader(cfg)


def test_direction_sensitive_classes_are_printed(cfg, caplog):
    caplog.set_level("INFO")
    assert build_train_loader(cfg).clips.mirror_labels == [None, 1, 2]
    assert re.search(r"\b1 direction-sensitive class\b.*: Moving something left to right\.", caplog.text)
    cfg.DATA.RANDOM_FLIP = False
    caplog.clear()
    build_train_loader(cfg)
    assert "flipped" not in caplog.text


def test_faults_of_the_program_are_not_those_of_a_worker(cfg, monkeypatch):
    loader = build_train_loader(cfg)
    monkeypatch.setattr(loader.clips.watch, "waiting", lambda: (_ for _ in ()).throw(RuntimeError("CUDA error: 700")))
    with pytest.raises(RuntimeError, match="CUDA error: 700"):
        list(loader)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("has_gpu", [False, True])
def test_batches_are_pinned_where_that_is_asked_for_and_there_is_a_gpu(cfg, monkeypatch, asked, has_gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    cfg.DATA_LOADER.PIN_MEMORY = asked
    assert build_train_loader(cfg)._start().pin_memory is (asked and has_gpu)


def test_each_process_may_have_one_clip_of_a_batch(cfg, monkeypatch):
    monkeypatch.setattr("slowfast_gta.loading.loader.get_world_size", lambda: cfg.TRAIN.BATCH_SIZE)
    assert len(build_train_loader(cfg)) == NUM_TRAIN // cfg.TRAIN.BATCH_SIZE


def test_fewer_videos_than_a_batch_are_a_batch_where_none_is_dropped(cfg):
    cfg.TRAIN.BATCH_SIZE, cfg.TRAIN.DROP_LAST = NUM_TRAIN + 1, False
    (batch,) = build_train_loader(cfg)
    assert batch.num_samples == NUM_TRAIN


def test_the_pattern_of_frames_reaches_the_clips(cfg):
    cfg.DATA.FRAME_PATTERN = "img_{:05d}.jpg"
    for loader in (build_train_loader(cfg), build_test_loader(cfg, "val"), build_test_loader(cfg, "test")):
        assert loader.clips.frame_pattern == "img_{:05d}.jpg"


def test_a_batch_of_tests_holds_one_video_at_least(cfg):
    cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS, cfg.TEST.BATCH_SIZE = 2, 3, 4
    assert [len(batch.label) for batch in build_test_loader(cfg, "test")] == [6] * NUM_VAL
    cfg.TEST.NUM_SPATIAL_CROPS, cfg.TEST.BATCH_SIZE, cfg.TEST.FULL_RESOLUTION = 1, 64, True
    assert {len(videos) for videos in build_test_loader(cfg, "test").order} == {1}


def test_each_key_reaches_the_loaders(cfg):
    cfg.DATA_LOADER.NUM_WORKERS, cfg.DATA_LOADER.SAMPLE_TIMEOUT_SEC, cfg.RNG_SEED = 3, 7.5, 11
    for pinned in (True, False):
        cfg.DATA_LOADER.PIN_MEMORY = pinned
        for loader in (build_train_loader(cfg), build_test_loader(cfg, "val"), build_test_loader(cfg, "test")):
            assert (loader.num_workers, loader.clips.watch.limit_sec) == (3, 7.5)
            assert loader.pin_memory is pinned
    train = build_train_loader(cfg)
    assert (train.clips.seed, train.order.seed, train.order.batch_size) == (11, 11, 4)

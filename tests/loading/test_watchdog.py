"""A video that takes too long is a broken one: the reader says so itself, or the worker stuck in it is ended."""

import multiprocessing
import os
import pickle
import threading
from pathlib import Path

import pytest
import torch
from numbered_clips import NumberedClips, NumberedViews, Numbers, lose, lose_in_silence
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.errors import ReadTimeoutError, RunError
from slowfast_gta.loading import clips as clips_module
from slowfast_gta.loading import loader as loader_module
from slowfast_gta.loading import watchdog as watch_module
from slowfast_gta.loading.compact import VideoRecords
from slowfast_gta.loading.loader import ClipLoader, TestBatchSampler, TrainBatchSampler
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform, TrainTransform
from slowfast_gta.loading.watchdog import StuckWorkerWatchdog

NUM_VIDEOS = 12
LIMIT_SEC = 0.5


@pytest.fixture
def loader_of(tmp_path, monkeypatch):
    """loader_of(stuck, num_workers, on_error, testing) of 12 videos; the `stuck` ones are pipes.

    Without workers, what is stuck is given up beforehand: that is what there should be.
    """
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))
    monkeypatch.setattr(watch_module, "_LOOK_SEC", 0.1)
    monkeypatch.setattr(clips_module, "open_video", Numbers)

    def make(stuck: list[int], num_workers: int = 2, on_error: str = "skip", testing: bool = False) -> ClipLoader:
        watch = StuckWorkerWatchdog(num_workers, LIMIT_SEC)
        for number in stuck:
            if num_workers == 0:
                watch.given_up[number] = f"{tmp_path / str(number)}: given up"
            else:
                os.mkfifo(tmp_path / str(number))
        records = [VideoRecord(str(tmp_path / str(number)), number % 2, str(number)) for number in range(NUM_VIDEOS)]
        sampling = ClipSampling("segment", 4, 1, 12, False)
        if testing:
            clips = NumberedViews(VideoRecords(records), sampling, TestTransform(16, (16, 16), 1), 2, watch)
            return ClipLoader(clips, TestBatchSampler(NUM_VIDEOS, 2, 0, 1), num_workers)
        transform = TrainTransform(16, (16, 16), (1.0,), (16, 16), False, flip=False)
        replace = on_error == "replace"
        clips = NumberedClips(VideoRecords(records), sampling, transform, [None, None], 7, replace, watch)
        return ClipLoader(clips, TrainBatchSampler(NUM_VIDEOS, 3, 7, 0, 1), num_workers)

    return make


def assert_same(found: list[dict], wanted: list[dict]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.video_id == other.video_id and one.video_counts == other.video_counts
        assert [(bad.video_id, bad.path) for bad in one.errors] == [(bad[0], bad[2]) for bad in other.errors]
        assert torch.equal(one.frames, other.frames)


@pytest.mark.parametrize("on_error", ["skip", "replace"])
def test_an_epoch_continues_without_the_video_that_a_worker_is_stuck_in(loader_of, on_error):
    found = list(loader_of([4], 2, on_error).epoch(1))
    assert_same(found, list(loader_of([4], 0, on_error).epoch(1)))
    (bad,) = [bad for batch in found for bad in batch.errors]
    assert bad.video_id == "4" and bad.timed_out
    assert f"{bad.path}: reading it did not finish within 0.75 s" in bad.reason
    counts = {name: sum(batch.video_counts[name] for batch in found) for name in found[0].video_counts}
    counts_of_bad = {"num_skipped": on_error == "skip", "num_replaced": on_error == "replace"}
    assert counts == {"num_requested": 12, "num_decoded": 11, "num_timed_out": 1} | counts_of_bad


def test_both_workers_stuck_and_an_epoch_afterwards(loader_of):
    found, wanted = loader_of([2, 4], 2, "replace"), loader_of([2, 4], 0, "replace")
    for epoch, start_step in ((0, 0), (1, 2)):
        assert_same(list(found.epoch(epoch, start_step)), list(wanted.epoch(epoch, start_step)))


def test_a_test_lists_the_video(loader_of):
    found = list(loader_of([5], 1, testing=True))
    assert_same(found, list(loader_of([5], 0, testing=True)))
    assert [bad.video_id for batch in found for bad in batch.errors] == ["5"]
    assert {video_id for batch in found for video_id in batch.video_id} == set(map(str, range(12))) - {"5"}


def test_without_workers_nobody_looks(monkeypatch):
    looking = threading.Event()
    monkeypatch.setattr(StuckWorkerWatchdog, "_look_until", lambda *arguments: looking.set())
    with StuckWorkerWatchdog(0, 1.0).ending_stuck_workers([]):
        assert not looking.is_set()
    with StuckWorkerWatchdog(2, 0.0).ending_stuck_workers([]):  # without a limit too: a batch may be lost
        assert looking.wait(60)


@pytest.mark.parametrize(("collate", "message"), [(lose, "was killed"), (lose_in_silence, "A batch was lost")])
def test_a_batch_that_is_lost_on_its_way_is_not_waited_for(loader_of, monkeypatch, collate, message):
    """What a full /dev/shm does: the worker lives, and reads on."""
    monkeypatch.setattr(loader_module, "collate", collate)
    monkeypatch.setattr(watch_module, "_IDLE_SEC", 1.0)
    with pytest.raises(RunError, match=message):
        list(loader_of([], 2).epoch(0))


def test_what_is_noted_while_a_record_is_read():
    watch = StuckWorkerWatchdog(0, 1.0)
    for _ in range(2):
        with watch.reading(3):
            assert watch._notes[0, :2].tolist() == [os.getpid(), 4]
        assert watch._notes[0, 1] == 0
    watch.given_up[3] = "x.mp4: too long."
    with pytest.raises(ReadTimeoutError, match=r"x\.mp4: too long"), watch.reading(3):
        pass
    with watch.reading(2):
        pass


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_clips_are_the_same_however_workers_start(loader_of, monkeypatch, method):
    wanted = list(loader_of([], 0).epoch(3))
    monkeypatch.setattr(loader_module, "start_method", lambda: multiprocessing.get_context(method))
    assert_same(list(loader_of([], 1).epoch(3)), wanted)


def test_clips_hold_no_open_file_when_they_go_to_a_worker(loader_of):
    loader = loader_of([], 0)
    list(loader.epoch(0))
    before = len(list(Path("/proc/self/fd").iterdir()))
    list(loader.epoch(1))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    copied = pickle.loads(pickle.dumps(loader.clips))
    assert torch.equal(copied[0, 1].frames, loader.clips[0, 1].frames)

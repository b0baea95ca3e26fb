"""Reading takes no more and more memory: ten thousand samples leave a process as large as the first few hundred."""

import multiprocessing
import resource
from itertools import cycle, islice
from pathlib import Path

import pytest
from made_videos import write_frames, write_video

from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.loading.clips import TrainClips
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TrainTransform


def resident_mb() -> float:
    """What this process has in memory, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def sizes_after(counts: list[int], paths: list[str]) -> list[float]:
    """The size of this process in MB after so many training clips of `paths`, again and again."""
    records = [VideoRecord(path, 0, path) for path in paths]
    train = TrainTransform(32, (32, 40), (1.0,), (32, 32), False, flip=False)
    clips = TrainClips(records, ClipSampling("dense", 8, 2, 30.0, False), train, [None], seed=0)
    sizes = []
    for number, index in enumerate(islice(cycle(range(len(records))), counts[-1]), start=1):
        item = clips[number, index]
        assert (item.frames is None) == ("bad" in paths[index])
        if number in counts:
            sizes.append(resident_mb())
    return sizes


@pytest.mark.parametrize(
    "counts",
    [[150, 600], pytest.param([500, *range(1000, 10_001, 1000)], marks=pytest.mark.slow)],
    ids=lambda counts: counts[-1],
)
def test_a_process_that_reads_stays_as_large_as_it_is(tmp_path, counts):
    """Good files of all kinds, and one that is broken: its containers must be given back too."""
    paths = [write_video(tmp_path / f"good{suffix}", 24) for suffix in (".mp4", ".webm", ".avi")]
    paths.append(write_frames(tmp_path / "good", 24))
    paths.append(tmp_path / "bad.mp4")
    paths[-1].write_bytes(paths[0].read_bytes()[:-400])
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        sizes = fresh.apply(sizes_after, (counts, [str(path) for path in paths]))
    print("MB after", dict(zip(counts, map(round, sizes), strict=True)))
    assert max(sizes) < 1.05 * sizes[0], sizes

"""Reading takes no more and more memory: ten thousand samples leave a process as large as the first few hundred."""

import multiprocessing

import pytest
from made_videos import write_frames, write_video
from memory_use import sizes_after


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

"""Records kept as arrays: the same as the list they were made of, and next to nothing in the workers."""

import multiprocessing
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from memory_use import Touching, memory_mb
from torch.utils.data import DataLoader

from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.loading.compact import VideoRecords
from slowfast_gta.processes.workers import start_method

ODD = [
    VideoRecord("/data/a b/x.mp4", 3, "x", 17),
    VideoRecord("/data/a b/ä.mp4", 0, "ä"),
    VideoRecord("/data/a b/\udcff.mp4", 3, "\udcff", 0),  # a file name that is not UTF-8
    VideoRecord("/data/a b/long.mp4", 2, "", None, (1.5, 4.25)),
]


def test_they_are_what_they_were_made_of():
    for records in (ODD, [], ODD[:1]):
        compact = VideoRecords(records)
        assert len(compact) == len(records) and list(compact) == records
        assert list(pickle.loads(pickle.dumps(compact))) == records
    for index in (-1, 4):
        with pytest.raises(IndexError):
            VideoRecords(ODD)[index]


def test_several_outputs_and_which_records_have_a_label():
    assert VideoRecords(ODD).with_label(3).tolist() == [0, 2]
    pairs = [VideoRecord(str(number), (number % 2, number % 3), str(number)) for number in range(12)]
    assert list(VideoRecords(pairs)) == pairs
    assert VideoRecords(pairs).with_label((1, 0)).tolist() == [3, 9]


def many(number: int) -> Iterator[VideoRecord]:
    """Records as Kinetics has them: a class folder, a name with times."""
    for index in range(number):
        name = f"class number {index % 400}/{index * 7919:011d}_{index % 300:06d}_{index % 300 + 10:06d}.mp4"
        yield VideoRecord(f"/datasets/kinetics400/videos/train/{name}", index % 400, name, 300)


def memory_of_workers_mb(records, num_workers: int, context) -> float:
    loader = DataLoader(
        Touching(records), num_workers=num_workers, multiprocessing_context=context, persistent_workers=True
    )
    for _ in range(2):
        batches = iter(loader)
        assert sum(1 for _ in batches) == 64
    return sum(memory_mb(worker.pid) for worker in batches._workers)


def cost_mb(number: int, num_workers: int, context, kind=VideoRecords) -> float:
    """What `number` records cost in all workers together, against ten."""
    few, all_ = (memory_of_workers_mb(kind(list(many(count))), num_workers, context) for count in (10, number))
    return all_ - few


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux says what a process's part is")
def test_thirty_thousand_records_cost_the_workers_less_than_ten_megabytes():
    torch.set_num_threads(1)
    assert cost_mb(30_000, 2, start_method()) < 10
    assert cost_mb(30_000, 2, start_method(), kind=list) > 10, "a plain list would pass too"


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [4, 8])
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_three_hundred_thousand_records_cost_all_workers_less_than_a_hundred_megabytes(num_workers, method, capsys):
    context = start_method() if method == "forkserver" else multiprocessing.get_context(method)
    cost = cost_mb(300_000, num_workers, context)
    with capsys.disabled():
        print(f"\n300,000 records cost {num_workers} workers ({method}) {cost:.1f} MB together")
    assert cost < 100


def test_the_digest_is_of_paths_labels_and_spans_in_their_order():
    a, b = VideoRecord("/data/a.mp4", 0, "a"), VideoRecord("/data/b.mp4", 1, "b")
    digest = VideoRecords([a, b]).digest()
    assert VideoRecords([a, b]).digest() == digest
    moved = [replace(record, path=record.path.replace("/data", "/elsewhere")) for record in (a, b)]
    assert VideoRecords(moved).digest() == digest
    others = [[b, a], [a, replace(b, label=0)], [a, replace(b, path="/data/c.mp4")], [a], [a, b, b]]
    others += [[a, replace(b, span=(0.0, 1.0))], [a, replace(b, span=(0.0, 2.0))]]
    assert len({digest, *(VideoRecords(other).digest() for other in others)}) == 1 + len(others)

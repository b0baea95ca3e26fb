"""Batches on their way from the readers: whether /dev/shm holds them."""

import os
from types import SimpleNamespace

import pytest
from miniatures import CFG, TINY

from slowfast_gta import load_config
from slowfast_gta.errors import RunError
from slowfast_gta.loading import shared_memory
from slowfast_gta.loading.shared_memory import check_shared_memory

CLIP_BYTES = 3 * 4 * 32 * 32  # of TINY, which trains on 4 of them


@pytest.fixture
def shm_of(monkeypatch):
    def set_to(num_bytes: int) -> None:
        found = SimpleNamespace(f_bavail=num_bytes, f_frsize=1)
        monkeypatch.setattr(os, "statvfs", lambda path: found)

    return set_to


@pytest.mark.parametrize(
    ("splits", "keys", "clips"),
    [
        (["train"], ["DATA_LOADER.NUM_WORKERS", 2], 4 * 5),
        (["train"], ["DATA_LOADER.NUM_WORKERS", 1, "TRAIN.BATCH_SIZE", 7], 7 * 3),
        (["test"], ["DATA_LOADER.NUM_WORKERS", 1, "TEST.NUM_ENSEMBLE_VIEWS", 5], 5 * 3),
        (["train", "val"], ["DATA_LOADER.NUM_WORKERS", 1, "TEST.BATCH_SIZE", 9], 9 * 3),
    ],
)
def test_what_waits_there_must_fit(shm_of, splits, keys, clips):
    cfg = load_config(CFG, [*TINY, *keys])
    needed = clips * CLIP_BYTES + shared_memory._FOR_OTHERS
    shm_of(needed)
    check_shared_memory(cfg, splits)
    shm_of(needed - 1)
    with pytest.raises(RunError, match=r"DATA_LOADER.NUM_WORKERS [12].*--shm-size"):
        check_shared_memory(cfg, splits)


def test_without_workers_or_without_shm_nothing_is_needed(shm_of, monkeypatch, tmp_path):
    shm_of(0)
    check_shared_memory(load_config(CFG, [*TINY, "DATA_LOADER.NUM_WORKERS", 0]), ["train"])
    monkeypatch.undo()
    monkeypatch.setattr(shared_memory, "SHM", tmp_path / "none")
    check_shared_memory(load_config(CFG, [*TINY, "DATA_LOADER.NUM_WORKERS", 2]), ["train"])

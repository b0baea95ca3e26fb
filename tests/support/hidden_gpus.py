"""A pytest plugin: tests compare the bits of the CPU, so none sees a GPU unless those marked `gpu` are asked for."""

import os
import re

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Before torch, or a process that a test starts, asks for GPUs: NUM_GPUS auto is then the CPU."""
    if not asks_for_gpus(config.getoption("markexpr")):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def asks_for_gpus(expression: str) -> bool:
    """Whether `expression`, what follows -m, names the marker `gpu` without a `not`."""
    return re.search(r"(?<!not )\bgpu\b", expression) is not None

"""Normalising, and which device a config means."""

import contextlib
import os
from dataclasses import dataclass

import pytest
import torch
from float_clips import batch_of
from hidden_gpus import asks_for_gpus
from miniatures import CFG, TINY

from slowfast_gta import load_config
from slowfast_gta.engine.device import (
    CopiesAhead,
    Normalize,
    build_normalize,
    device_from_cfg,
    num_gpus_from_cfg,
    set_tf32,
    settle_determinism,
    tensors_in,
)
from slowfast_gta.errors import RunError

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.mark.parametrize("reverse", [False, True])
def test_normalize_is_the_formula(reverse):
    frames = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    wanted = torch.empty(2, 3, 4, 5, 6, dtype=torch.float64)
    for channel in range(3):  # the statistics are RGB's; the order changes after them, as in PySlowFast
        channel_out = 2 - channel if reverse else channel
        wanted[:, channel_out] = (frames[:, channel].double() / 255 - MEAN[channel]) / STD[channel]
    found = Normalize(MEAN, STD, reverse)(frames)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, atol=2e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_pass_normalises_as_several_do(dtype):
    frames = torch.randint(0, 256, (2, 4, 5, 6, 3), dtype=torch.uint8).permute(0, 4, 1, 2, 3)
    normalize = Normalize(MEAN, STD, False)
    found = normalize.in_one_pass(frames, dtype)
    assert found.dtype == dtype and found.is_contiguous(memory_format=torch.channels_last_3d)
    # Rounded once from what is computed in float32, whose last bit may be another.
    torch.testing.assert_close(found, normalize(frames).to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6)


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU, and for which streams it is kept."""

    is_cuda = True

    def record_stream(self, stream):
        self.kept_for = stream


@dataclass
class Holder:
    tensor: torch.Tensor


@dataclass
class Clips:
    frames: torch.Tensor
    more: list
    streams: list

    def to(self, device):
        self.streams.append(FakeStream.current)
        on_gpu = [tensor.as_subclass(OnGpu) for tensor in (self.frames, *self.more)]
        return Clips(on_gpu[0], [{"held": Holder(on_gpu[1])}, "text", 3], self.streams)


class FakeStream:
    current = "steps"

    def __init__(self, device):
        self.waited_for = []

    def wait_stream(self, other):
        self.waited_for.append(other)


def test_a_batch_is_copied_on_a_stream_of_its_own_and_kept_until_its_step_is_over(monkeypatch):
    steps = FakeStream(None)

    @contextlib.contextmanager
    def inside(stream):
        FakeStream.current = stream
        yield
        FakeStream.current = "steps"

    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: steps)
    copy = CopiesAhead(torch.device("cuda"))
    streams = []
    for number in range(2):
        moved = copy(Clips(torch.zeros(2), [torch.ones(1)], streams))
        assert [tensor.kept_for for tensor in tensors_in(moved)] == [steps, steps]
        assert len(steps.waited_for) == number + 1, "the steps wait for the copy"
    assert len(set(streams)) == 1 and streams[0] is steps.waited_for[0] and FakeStream.current == "steps"

    class Unknown:
        def to(self, device):
            streams.append(FakeStream.current)
            return self

    copy(Unknown())
    assert streams[-1] == "steps", "whose tensors cannot be found is copied where it is used"


def test_on_a_cpu_a_batch_is_moved_as_it_moves_itself():
    batch = batch_of(torch.randn(2, 3, 4, 8, 8), torch.tensor([0, 1]))
    moved = CopiesAhead(torch.device("cpu"))(batch)
    assert torch.equal(moved.frames, batch.frames) and torch.equal(moved.label, batch.label)


def test_normalize_reads_the_config():
    cfg = load_config(CFG, ["DATA.MEAN", [0.0, 0.0, 0.5], "DATA.STD", [1.0, 0.5, 0.25]])
    white = torch.full((1, 3, 1, 1, 1), 255, dtype=torch.uint8)
    assert build_normalize(cfg)(white).flatten().tolist() == pytest.approx([1, 2, 2])


def test_no_test_sees_a_gpu_unless_those_that_want_one_are_asked_for(pytestconfig):
    assert [asks_for_gpus(text) for text in ("not slow and not gpu", "", "gpu", "gpu or slow")] == [
        False,
        False,
        True,
        True,
    ]
    if not asks_for_gpus(pytestconfig.getoption("markexpr")):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.fixture
def settings():
    """torch's, as they were, afterwards."""
    yield
    torch.use_deterministic_algorithms(False)
    for choose in ("enable_flash_sdp", "enable_mem_efficient_sdp", "enable_cudnn_sdp"):
        getattr(torch.backends.cuda, choose)(True)


@pytest.mark.parametrize("inexact", [(), ("max_pool3d_with_indices",), None])
def test_attention_is_exact_where_torch_may_refuse_and_by_products_where_not(settings, inexact):
    torch.use_deterministic_algorithms(True, warn_only=True)
    settle_determinism(inexact)
    strict = inexact == ()
    assert torch.is_deterministic_algorithms_warn_only_enabled() is not strict
    assert torch.are_deterministic_algorithms_enabled()
    assert (
        torch.backends.cuda.flash_sdp_enabled() is strict and torch.backends.cuda.mem_efficient_sdp_enabled() is strict
    )
    assert torch.backends.cuda.math_sdp_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_auto_is_the_cpu_where_there_is_no_gpu():
    assert num_gpus_from_cfg(load_config(CFG, TINY)) == 0
    assert device_from_cfg(load_config(CFG, TINY)) == torch.device("cpu")


@pytest.mark.parametrize("present", [0, 1, 4])
def test_auto_is_one_gpu_and_more_must_be_asked_for(monkeypatch, present):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: present)
    assert num_gpus_from_cfg(load_config(CFG, TINY)) == min(present, 1)
    assert num_gpus_from_cfg(load_config(CFG, [*TINY, "NUM_GPUS", present])) == present
    with pytest.raises(RunError, match=f"NUM_GPUS is {present + 1}, but PyTorch sees {present} CUDA GPU"):
        num_gpus_from_cfg(load_config(CFG, [*TINY, "NUM_GPUS", present + 1]))


@pytest.mark.parametrize("on", [True, False])
def test_tf32_is_of_convolutions_and_matrices_alike(on):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        assert "TF32" in set_tf32(load_config(CFG, [*TINY, "TF32", on]))
        assert torch.backends.cudnn.allow_tf32 is on
        assert torch.get_float32_matmul_precision() == ("high" if on else "highest")
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]

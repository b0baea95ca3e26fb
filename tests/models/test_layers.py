"""Frames as images and back: the same memory, the same numbers, and gradients that are right."""

import pytest
import torch
import torch.nn.functional as F
from miniatures import ROOT
from torch import nn

from slowfast_gta import build_model, load_config
from slowfast_gta.models.layers import BatchNorm3d, Conv3d, Projection, add, batch_to_frames, frames_to_batch, gpu_form


@pytest.mark.parametrize("frames", [1, 3])
def test_folding_and_unfolding_move_no_memory(frames):
    x = torch.randn(2, 4, frames, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    images = frames_to_batch(x)
    assert images.shape == (2 * frames, 4, 5, 6) and images.data_ptr() == x.data_ptr()
    assert images.is_contiguous(memory_format=torch.channels_last)
    back = batch_to_frames(images, frames)
    assert back.data_ptr() == x.data_ptr() and torch.equal(back, x)
    assert back.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", [Conv3d(4, 6, (1, 1)), Projection(4, 6)], ids=lambda layer: type(layer).__name__)
def test_the_gradient_through_a_norm_is_right_in_every_memory_format(layer, training, frames):
    """With one frame, torch's BatchNorm on CPUs can take the strides for another format's."""
    norm = nn.BatchNorm3d(6).train(training)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    x = torch.randn(2, 4, frames, 5, 6).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    pull = torch.randn(2, 6, frames, 5, 6)
    (expected,) = torch.autograd.grad((norm(F.conv3d(x, layer.weight)) * pull).sum(), x)
    for memory_format in (torch.contiguous_format, torch.channels_last_3d):
        arranged = pull.contiguous(memory_format=memory_format)
        (found,) = torch.autograd.grad(norm(layer(x)), x, arranged)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_adding_writes_over_the_residual_and_leaves_x():
    x, residual = torch.ones(2, 3), torch.full((2, 3), 2.0)
    total = add(x, residual)
    assert total.data_ptr() == residual.data_ptr() and torch.equal(total, torch.full((2, 3), 3.0))
    assert torch.equal(x, torch.ones(2, 3))
    assert add(x, residual.bfloat16()).dtype == x.dtype


def nodes_of(tensor: torch.Tensor) -> set[str]:
    """The kinds of everything that computes its gradient."""
    found, todo = {}, [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found[node] = type(node).__name__
            todo += [further for further, _ in node.next_functions]
    return set(found.values())


MORE = ["SSv1/R2D50_TSM_W3", "Kinetics/SLOWFAST_8x8_R50", "SSv1/R2D50_NL"]


@pytest.mark.parametrize("name", ["SSv1/R2D50_GTA", *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_on_a_gpu_nothing_is_written_over_a_view(name):
    """Whose gradient would be four copies for each (CopySlices): 2 GB a clip of a ResNet-50."""
    with torch.device("meta"):
        network = build_model(load_config(ROOT / f"configs/{name}.yaml"))
        with gpu_form():
            logits = network(torch.empty(2, 3, network.num_frames, 224, 224))
    kinds = nodes_of(logits)
    assert "CopySlices" not in kinds and "NativeBatchNormBackward0" in kinds


@pytest.mark.parametrize("shape", [(2, 3, 5, 4, 8), (3, 1, 2, 2, 4), (2, 4, 1, 1, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_frames_as_images_is_torch_s_of_clips(shape, training):
    x = torch.randn(shape, dtype=torch.float64).permute(0, 4, 1, 2, 3)
    ours, theirs = BatchNorm3d(shape[-1]).double().train(training), nn.BatchNorm3d(shape[-1]).double().train(training)
    found, wanted = [], []
    for values, run in ((found, ours.of_images), (wanted, theirs)):
        leaf = x.clone().requires_grad_()
        out = run(leaf)
        values += [out, *torch.autograd.grad(out.square().sum(), [leaf])]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-12, rtol=1e-12)
    assert torch.equal(ours(x), theirs(x))

"""Blocks as a GPU computes them (projections of one input in one product, heads by bmm): the same answers."""

import pytest
import torch
from block_cases import block_of, clip, every_case
from torch import Tensor, nn

from slowfast_gta.models.attention import build_attention
from slowfast_gta.models.layers import Projection, gpu_form, project
from slowfast_gta.models.packed import prepack_convs_


def awake(block: nn.Module) -> nn.Module:
    """With what new blocks begin at zero set to one, so that everything in them counts."""
    for norm in block.modules():
        if getattr(norm, "zero_init", False):
            nn.init.ones_(norm.weight)
    return block


def answers(block: nn.Module, x: Tensor) -> list[Tensor]:
    """What it answers, the gradient of x, those of its parameters."""
    leaf = x.clone().requires_grad_()
    learned = [parameter for parameter in block.parameters() if parameter.requires_grad]
    out = block(leaf)
    pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=out.dtype)
    return [out, *torch.autograd.grad((out * pull).sum(), [leaf, *learned], allow_unused=True)]


def relative(one: Tensor, other: Tensor) -> float:
    one, other = one.detach(), other.detach()
    return float((one - other).norm() / other.norm().clamp_min(1e-300))


@every_case
def test_the_form_for_gpus_is_the_same_function(name, options):
    block, x = awake(block_of(name, options, torch.float64)), clip(dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    wanted = answers(block, x)
    with gpu_form():
        found = answers(block, x)
    largest = max(float(gradient.norm()) for gradient in wanted[2:] if gradient is not None)
    for one, other in zip(found, wanted, strict=True):
        # A gradient that is zero but for rounding (of a bias that BatchNorm takes away) is judged by the others.
        assert (
            one is other is None
            or relative(one, other) < 1e-13
            or float((one - other).detach().norm()) < 1e-13 * largest
        )


class Products(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes the output channels of each convolution."""

    def __init__(self):
        super().__init__()
        self.channels = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        output = function(*arguments, **(options or {}))
        if function.overloadpacket is torch.ops.aten.convolution:
            self.channels.append(output.shape[1])
        return output


def products_of(block: nn.Module, x: Tensor) -> list[int]:
    with Products() as products:
        block(x)
    return products.channels


@pytest.mark.parametrize(
    ("name", "apart", "together"),
    [
        ("GTA", [8, 8, 8, 32, 8, 8, 1, 32, 32], [24, 32, 16, 1, 32, 32]),
        ("SA", [8, 8, 8, 32], [24, 32]),
        ("NL", [16, 16, 16, 32], [48, 32]),
    ],
)
def test_projections_of_one_input_are_one_product_on_a_gpu_alone(name, apart, together):
    block, x = block_of(name, {}), clip()
    assert sorted(products_of(block, x)) == sorted(apart)
    with gpu_form():
        assert sorted(products_of(block, x)) == sorted(together)
        # The plain form of benchmarks has nothing of this.
        for module in block.modules():
            module.__class__ = nn.Conv3d if type(module) is Projection else type(module)
        assert sorted(products_of(block, x)) == sorted(apart)
    assert set(block.state_dict()) == set(block_of(name, {}).state_dict())


def test_projections_with_and_without_biases_stay_apart():
    x = torch.randn(2, 4, 3, 5, 5)
    parts = [Projection(4, 6), Projection(4, 2, bias=True)]
    with gpu_form():
        for one, part in zip(project(x, *parts), parts, strict=True):
            assert torch.equal(one, part(x))


def test_packed_networks_for_testing_have_the_one_product_too():
    block = build_attention("SA", 32, 3).eval()
    block.bn = nn.Identity()
    x = clip().contiguous(memory_format=torch.channels_last_3d)
    wanted = block(x)
    with gpu_form():
        assert sorted(products_of(prepack_convs_(block), x)) == [24, 32]
        torch.testing.assert_close(block(x), wanted)

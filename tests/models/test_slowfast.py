"""SlowFast: the slow pathway's frames, PySlowFast's names and shapes, values as plain 3D functions give them."""

import pytest
import torch
from plain import Plain, plain_slowfast
from randomised import SLOWFAST, SMALL, config, small_network
from state_shapes import block_shapes, nonlocal_shapes, norm_shapes

from slowfast_gta.models import build_model
from slowfast_gta.models.slowfast import slow_frame_indices


@pytest.mark.parametrize(
    ("frames", "alpha", "expected"),
    [
        (32, 4, [0, 4, 8, 13, 17, 22, 26, 31]),
        (32, 8, [0, 10, 20, 31]),
        (8, 4, [0, 7]),
        (4, 4, [0]),
        (16, 4, [0, 5, 10, 15]),
    ],
)
def test_slow_frames_are_spread_from_the_first_to_the_last(frames, alpha, expected):
    assert slow_frame_indices(frames, alpha).tolist() == expected


def slowfast_r50_shapes(kernel: int) -> dict[str, tuple]:
    """peers.md, section 5, with NL in the slow pathway of res3 and res4."""
    shapes = {}
    for pathway, (dim, frames) in enumerate([(64, 1), (8, 5)]):
        name = f"s1.pathway{pathway}_stem"
        shapes |= {f"{name}.conv.weight": (dim, 3, frames, 7, 7)} | norm_shapes(f"{name}.bn", dim)
    for stage, fast_dim in enumerate((8, 32, 64, 128)):
        name = f"s{stage + 1}_fuse"
        shapes |= {f"{name}.conv_f2s.weight": (2 * fast_dim, fast_dim, kernel, 1, 1)}
        shapes |= norm_shapes(f"{name}.bn", 2 * fast_dim)
    dims_in = [[80, 320, 640, 1280], [8, 32, 64, 128]]
    for pathway, (width, frames) in enumerate([(64, [1, 1, 3, 3]), (8, [3, 3, 3, 3])]):
        for stage, blocks in enumerate((3, 4, 6, 3)):
            inner = width * 2**stage
            for i in range(blocks):
                name, dim_in = f"s{stage + 2}.pathway{pathway}_res{i}", dims_in[pathway][stage] if i == 0 else inner * 4
                shapes |= block_shapes(name, dim_in, inner, inner * 4, frames[stage], i == 0)
    for stage, dim, indices in ((3, 512, (1, 3)), (4, 1024, (1, 3, 5))):
        for i in indices:
            shapes |= nonlocal_shapes(f"s{stage}.pathway0_nonlocal{i}", dim)
    return shapes | {"head.projection.weight": (400, 2304), "head.projection.bias": (400,)}


FULL = SLOWFAST | {
    "SLOWFAST.BETA_INV": 8,
    "RESNET.DEPTH": 50,
    "DATA.NUM_FRAMES": 32,
    "DATA.TRAIN_CROP_SIZE": 224,
    "MODEL.NUM_CLASSES": 400,
    "NONLOCAL.LOCATION": [[[], []], [[1, 3], []], [[1, 3, 5], []], [[], []]],
    "NONLOCAL.GROUP": [[1, 1], [1, 1], [1, 1], [1, 1]],
}


@pytest.mark.parametrize("kernel", [5, 7])
def test_names_and_shapes_are_pyslowfast_s(kernel):
    with torch.device("meta"):
        model = build_model(config(FULL | {"SLOWFAST.FUSION_KERNEL_SZ": kernel}))
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == slowfast_r50_shapes(kernel)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("keys", [{}, {"SLOWFAST.FUSION_KERNEL_SZ": 7, "SLOWFAST.FUSION_CONV_CHANNEL_RATIO": 3}])
def test_values_and_gradients_are_those_of_plain_3d_functions(keys, training):
    network = small_network(SLOWFAST | keys | {"MODEL.HEAD_ACT": "none"}).train(training)
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    for name, _ in network.named_parameters():
        weights[name].requires_grad_()
    x = torch.randn(2, 3, 16, 64, 64, dtype=torch.float64)
    plain = Plain(weights, training)
    expected = plain_slowfast(plain, x, 14, alpha=4, slow_frames=[0, 5, 10, 15])
    logits = network(x)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    assert plain.used == {name for name in weights if "num_batches" not in name}

    pull = torch.randn_like(logits)
    (logits * pull).sum().backward()
    (expected * pull).sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-9, atol=1e-10, msg=name)


def test_attention_gets_the_frames_of_its_pathway():
    keys = {"ATTENTION.NAME": "GTA", "ATTENTION.LOCATION": [[[], []], [[0], [0]], [[], []], [[], []]]}
    network = small_network(SLOWFAST | keys)
    assert network.s3.pathway0_attention0.num_frames == 4
    assert network.s3.pathway1_attention0.num_frames == 16
    assert network(torch.randn(2, 3, 16, 64, 64, dtype=torch.float64)).shape == (2, SMALL["MODEL.NUM_CLASSES"])


def test_only_the_slow_frames_reach_the_slow_pathway():
    network = small_network(SLOWFAST).eval()
    seen = []
    network.s1["pathway0_stem"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.arange(16.0, dtype=torch.float64).view(1, 1, 16, 1, 1).expand(1, 3, 16, 64, 64)
    network(x)
    assert seen[0][0, 0, :, 0, 0].tolist() == [0, 5, 10, 15]


def test_a_list_of_both_pathways_clips_is_taken_as_pyslowfast_s():
    network = small_network(SLOWFAST).eval()
    clip = torch.randn(1, 3, 16, 64, 64, dtype=torch.float64)
    slow = clip[:, :, [0, 5, 10, 15]]
    assert torch.equal(network([slow, clip]), network(clip)) and torch.equal(network([clip]), network(clip))
    assert not torch.equal(network([slow.flip(2), clip]), network(clip))
    for wrong in ([clip, clip], [slow], [slow, clip, clip], [slow, None]):
        with pytest.raises(ValueError, match=r"\(B, 3, (4|16), H, W\)"):
            network(wrong)

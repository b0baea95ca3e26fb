"""One-pathway networks: names and shapes of PySlowFast's checkpoints, values as plain 3D functions give them."""

import pytest
import torch
from plain import Plain, plain_resnet
from randomised import SMALL, config, small_network
from state_shapes import block_shapes, nonlocal_shapes, norm_shapes

from slowfast_gta.errors import ConfigError
from slowfast_gta.models import build_model
from slowfast_gta.models.attention import build_attention

FULL = {
    "MODEL.MODEL_NAME": "ResNet",
    "RESNET.DEPTH": 50,
    "DATA.NUM_FRAMES": 8,
    "DATA.TRAIN_CROP_SIZE": 224,
    "MODEL.NUM_CLASSES": 400,
}
NONLOCAL = [[[]], [[1, 3]], [[1, 3, 5]], [[]]]


def r50_shapes(stem_frames: int, kernels: list[list[int]], location: list) -> dict[str, tuple]:
    """peers.md, section 5, for a single pathway of depth 50; `kernels` of convolution a in each block."""
    shapes = {"s1.pathway0_stem.conv.weight": (64, 3, stem_frames, 7, 7)} | norm_shapes("s1.pathway0_stem.bn", 64)
    for stage, (blocks, inner) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True)):
        dim_in = 64 if stage == 0 else inner * 2
        for i in range(blocks):
            name = f"s{stage + 2}.pathway0_res{i}"
            shapes |= block_shapes(name, dim_in if i == 0 else inner * 4, inner, inner * 4, kernels[stage][i], i == 0)
        for i in location[stage][0]:
            shapes |= nonlocal_shapes(f"s{stage + 2}.pathway0_nonlocal{i}", inner * 4)
    return shapes | {"head.projection.weight": (400, 2048), "head.projection.bias": (400,)}


ONES = [[1] * 3, [1] * 4, [1] * 6, [1] * 3]
NONE = [[[]]] * 4


@pytest.mark.parametrize(
    ("arch", "location", "expected"),
    [
        ("2d", NONE, r50_shapes(1, ONES, NONE)),
        ("c2d", NONLOCAL, r50_shapes(1, ONES, NONLOCAL)),
        ("i3d", NONLOCAL, r50_shapes(5, [[3] * 3, [3, 1] * 2, [3, 1] * 3, [1, 3, 1]], NONLOCAL)),
        ("slow", NONE, r50_shapes(1, [[1] * 3, [1] * 4, [3] * 6, [3] * 3], NONE)),
    ],
)
def test_names_and_shapes_are_pyslowfast_s(arch, location, expected):
    with torch.device("meta"):
        model = build_model(config(FULL | {"MODEL.ARCH": arch, "NONLOCAL.LOCATION": location}))
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == expected


def test_the_width_scales_the_stem_and_the_classifier():
    model = build_model(config(SMALL | {"RESNET.WIDTH_PER_GROUP": 16, "MODEL.ARCH": "i3d"}))
    assert model.s1["pathway0_stem"].conv.weight.shape == (16, 3, 5, 7, 7)
    assert model.head.projection.weight.shape == (5, 16 * 8 * 4)


VARIANTS = {
    "14": ({}, {}),
    "18": ({"RESNET.DEPTH": 18}, {"depth": 18}),
    "basic 18": ({"RESNET.DEPTH": 18, "RESNET.TRANS_FUNC": "basic_transform", "RESNET.EXPANSION": 1}, {"depth": 18}),
    "basic 14, expansion 2": ({"RESNET.TRANS_FUNC": "basic_transform", "RESNET.EXPANSION": 2}, {}),
    "dilated": (
        {"RESNET.SPATIAL_STRIDES": [[1], [2], [2], [1]], "RESNET.SPATIAL_DILATIONS": [[1], [1], [1], [2]]},
        {"last": (1, 2)},
    ),
    "grouped": ({"RESNET.NUM_GROUPS": 4}, {}),
    "stride_1x1": ({"RESNET.STRIDE_1X1": True}, {}),
    "expansion 1": ({"RESNET.EXPANSION": 1}, {}),
    "c2d": ({"MODEL.ARCH": "c2d"}, {"temporal_pool": 2}),
    "i3d": ({"MODEL.ARCH": "i3d"}, {"temporal_pool": 2}),
    "slow": ({"MODEL.ARCH": "slow"}, {}),
    "basic i3d": ({"MODEL.ARCH": "i3d", "RESNET.TRANS_FUNC": "basic_transform"}, {"temporal_pool": 2}),
}


def plain_of(network: torch.nn.Module, keys: dict, training: bool) -> Plain:
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    for name, _ in network.named_parameters():
        weights[name].requires_grad_()
    return Plain(weights, training, keys.get("RESNET.NUM_GROUPS", 1), keys.get("RESNET.STRIDE_1X1", False))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_and_gradients_are_those_of_plain_3d_functions(variant, training):
    keys, extra = VARIANTS[variant]
    network = small_network(keys | {"MODEL.HEAD_ACT": "none"}).train(training)
    plain = plain_of(network, keys, training)
    x = torch.randn(2, 3, 4, 64, 64, dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    expected = plain_resnet(plain, twin, **({"depth": 14} | extra))
    logits = network(x)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    assert plain.used == {name for name in network.state_dict() if "num_batches" not in name}

    pull = torch.randn_like(logits)
    (logits * pull).sum().backward()
    (expected * pull).sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, plain.weights[name].grad, rtol=1e-9, atol=1e-10, msg=name)
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("keys", [{}, {"TSM.ENABLE": True}, {"MODEL.ARCH": "i3d", "RESNET.DEPTH": 18}])
def test_without_gradients_the_answer_is_the_same_and_the_clip_is_left_alone(keys):
    network = small_network(keys).eval()
    x = torch.randn(2, 3, 4, 64, 64, dtype=torch.float64)
    before = x.clone()
    with_gradients = network(x)
    with torch.no_grad():
        assert torch.equal(network(x), with_gradients)
    assert torch.equal(x, before)


def test_the_clip_s_memory_format_changes_nothing():
    network = small_network({"RESNET.DEPTH": 18}).eval()
    x = torch.randn(2, 3, 4, 64, 64, dtype=torch.float64)
    last = x.contiguous(memory_format=torch.channels_last_3d)
    sliced = torch.stack([x, x], dim=-1)[..., 0]
    torch.testing.assert_close(network(last), network(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(network(sliced), network(x), rtol=1e-10, atol=1e-10)


def test_clips_of_a_batch_do_not_see_each_other_in_eval():
    network = small_network({"ATTENTION.NAME": "GTA", "ATTENTION.LOCATION": [[[]], [[0]], [[0]], [[]]]}).eval()
    x = torch.randn(3, 3, 4, 64, 64, dtype=torch.float64)
    together = network(x)
    for i in range(3):
        torch.testing.assert_close(network(x[i : i + 1]), together[i : i + 1], rtol=1e-10, atol=1e-10)


def test_bfloat16_autocast_trains_and_stays_close():
    network = small_network({"ATTENTION.NAME": "GTA", "ATTENTION.LOCATION": [[[]], [[0]], [[0]], [[]]]}).float()
    x = torch.randn(2, 3, 4, 64, 64)
    exact = network.train()(x)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    assert (logits.float() - exact).norm() < 0.1 * exact.norm()
    logits.float().square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_r2d_is_the_mean_over_frames_of_the_image_network():
    """TSN: every frame by itself, then the mean of the features; here of the logits, which are linear in them."""
    network = small_network({"MODEL.HEAD_ACT": "none"}).eval()
    single = small_network({"MODEL.HEAD_ACT": "none", "DATA.NUM_FRAMES": 1}).eval()
    single.load_state_dict(network.state_dict())
    x = torch.randn(2, 3, 4, 64, 64, dtype=torch.float64)
    frames = torch.stack([single(x[:, :, t : t + 1]) for t in range(4)])
    torch.testing.assert_close(network(x), frames.mean(0), rtol=1e-10, atol=1e-10)


def test_zero_init_final_bn():
    for zero in (True, False):
        keys = {"RESNET.ZERO_INIT_FINAL_BN": zero, "RESNET.DEPTH": 18, "NONLOCAL.LOCATION": [[[]], [[1]], [[]], [[]]]}
        state = build_model(config(SMALL | keys)).state_dict()
        scales = {key: bool((value == 0).all()) for key, value in state.items() if "bn.weight" in key}
        last = {key for key in scales if "c_bn" in key} | {"s3.pathway0_nonlocal1.bn.weight"}
        assert {key for key, is_zero in scales.items() if is_zero} == (last if zero else set())


@pytest.mark.parametrize("kind", ["softmax", "dot_product"])
def test_pyslowfast_s_nonlocal_is_nl_pooled_before_with_biases(kind):
    keys = {"NONLOCAL.LOCATION": [[[]], [[]], [[0]], [[]]], "NONLOCAL.INSTANTIATION": kind}
    keys |= {"NONLOCAL.GROUP": [[1], [1], [2], [1]], "NONLOCAL.POOL": [[[1, 2, 2]]] * 2 + [[[2, 1, 2]], [[1, 2, 2]]]}
    block = small_network(keys).eval().s4.pathway0_nonlocal0
    options = {"INSTANTIATION": kind, "POOL": "before", "POOL_SIZE": [2, 1, 2], "GROUP": 2, "BIAS": True}
    twin = build_attention("NL", 128, 4, options=options).double().eval()
    twin.load_state_dict(block.state_dict(), strict=True)
    x = torch.randn(2, 128, 4, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(block(x), twin(x), rtol=1e-10, atol=1e-10)


def test_nonlocal_and_attention_can_share_a_network():
    keys = {"NONLOCAL.LOCATION": [[[]], [[0]], [[]], [[]]], "ATTENTION.LOCATION": [[[]], [[0]], [[]], [[]]]}
    network = small_network(keys | {"ATTENTION.NAME": "TA"})
    assert list(network.s3._modules) == ["pathway0_res0", "pathway0_nonlocal0", "pathway0_attention0"]
    assert torch.isfinite(network(torch.randn(2, 3, 4, 64, 64, dtype=torch.float64))).all()


def test_attention_comes_right_after_its_block():
    """The whole network, unrolled by hand with the block called where LOCATION says."""
    keys = {"RESNET.DEPTH": 18, "ATTENTION.NAME": "GTA", "ATTENTION.LOCATION": [[[]], [[0]], [[1]], [[]]]}
    network = small_network(keys | {"MODEL.HEAD_ACT": "none"}).eval()
    x = torch.randn(1, 3, 4, 64, 64, dtype=torch.float64)
    plain = plain_of(network, keys, training=False)
    y = plain.stage(plain.stem(x), 2, 2, stride=1)
    y = network.s3.pathway0_attention0(plain.block(y, "s3.pathway0_res0", 2))
    y = plain.stage(plain.block(y, "s3.pathway0_res1", 1), 4, 2)
    y = plain.stage(network.s4.pathway0_attention1(y), 5, 2)
    torch.testing.assert_close(network(x), plain.classes(y.mean((2, 3, 4))), rtol=1e-10, atol=1e-10)


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"MODEL\.MODEL_NAME: .*'X3D'.*\bSlowFast\b"):
        build_model(config(SMALL | {"MODEL.MODEL_NAME": "X3D"}))


def test_a_list_of_one_clip_is_taken_as_pyslowfast_s():
    network = small_network({}).eval()
    clip = torch.randn(1, 3, 4, 64, 64, dtype=torch.float64)
    assert torch.equal(network([clip]), network(clip))
    with pytest.raises(ValueError, match="a list of"):
        network([clip, clip])


def test_a_clip_of_bytes_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"DATA.MEAN.*DATA.STD"):
        small_network({})(torch.zeros(1, 3, 4, 64, 64, dtype=torch.uint8))

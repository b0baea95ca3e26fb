"""The contract of models/attention/build.py, over every registered block. Registering a block covers it."""

import copy

import pytest
import torch
from block_cases import CASES, DIM, FRAMES, HEIGHT, MORE_OPTIONS, WIDTH, block_of, clip, every_case
from randomised import SMALL, config, randomise, small_network
from torch import Tensor, nn

from slowfast_gta.errors import ConfigError
from slowfast_gta.models import build_model
from slowfast_gta.models.attention import ATTENTION_REGISTRY, accepted_options, build_attention
from slowfast_gta.models.attention.build import RENAMED, AttentionChoice
from slowfast_gta.models.fold import fold_batch_norms
from slowfast_gta.models.packed import prepack_convs_

# A bias whose effect a following step takes away learns nothing; nothing is wrong with that.
CANCELLED = {"NL": {"conv_out.bias"}}  # in training, by the BatchNorm behind it

# Options that change in what order numbers are multiplied and summed.
OF_OWN_ARITHMETIC = (
    {"SPATIAL": False},
    {"HEADS": "single"},
    {"INSTANTIATION": "dot_product", "BIAS": True, "POOL": "before"},
)


def test_every_registered_block_is_tried_and_every_extra_option_set_belongs_to_one():
    # Other tests of this process may have registered blocks of a plugin since.
    ours = {name for name, block in ATTENTION_REGISTRY if block.__module__.startswith("slowfast_gta.models.")}
    assert {name for name, _ in CASES} >= ours
    assert set(MORE_OPTIONS) <= set(ATTENTION_REGISTRY.known())
    untried = {
        (name, option)
        for name in MORE_OPTIONS
        for option in accepted_options(name)
        if not any(option in options for options in MORE_OPTIONS[name])
    }
    assert untried <= {("DNL", "DIM_INNER"), ("TAPE", "DIM_INNER")}


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_dtype_and_device_stay(name, options, dtype):
    block, x = randomise(block_of(name, options, dtype)), clip(dtype=dtype)
    for mode in (True, False):
        y = block.train(mode)(x)
        assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
        assert torch.isfinite(y).all()


@every_case
def test_a_new_block_is_the_identity_unless_declared_otherwise(name, options):
    block, x = block_of(name, options), clip()
    identity = getattr(ATTENTION_REGISTRY.get(name), "identity_at_init", True)
    for mode in (True, False):
        assert torch.equal(block.train(mode)(x), x) is identity
    assert not torch.equal(randomise(block)(x), x)


@every_case
def test_the_memory_format_changes_nothing(name, options):
    block, x = randomise(block_of(name, options, torch.float64)), clip(dtype=torch.float64)
    for mode in (True, False):
        twin = copy.deepcopy(block)
        last = x.contiguous(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(block.train(mode)(x), twin.train(mode)(last), rtol=1e-10, atol=1e-10)


@every_case
def test_the_input_is_left_alone(name, options):
    block, x = randomise(block_of(name, options)), clip()
    before = x.clone()
    with torch.no_grad():
        block.eval()(x)
    assert torch.equal(x, before)


@every_case
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_gradient_reaches_every_parameter_and_the_input(name, options, training):
    block = randomise(block_of(name, options, torch.float64)).train(training)
    x = clip(dtype=torch.float64).requires_grad_()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (block(x) * weights).sum().backward()
    assert (x.grad - weights).abs().max() > 1e-6  # more than through the residual
    learned = {key: parameter for key, parameter in block.named_parameters() if parameter.requires_grad}
    missing = {key for key, parameter in learned.items() if parameter.grad is None or parameter.grad.norm() < 1e-9}
    assert missing <= (CANCELLED.get(name, set()) if training else set())


@every_case
def test_a_clip_s_scores_do_not_depend_on_the_batch_in_eval(name, options):
    block, x = randomise(block_of(name, options, torch.float64)).eval(), clip(3, torch.float64)
    together = block(x)
    for i in range(3):
        torch.testing.assert_close(block(x[i : i + 1]), together[i : i + 1], rtol=1e-10, atol=1e-10)
    x[1] += 1
    perturbed = block(x)
    torch.testing.assert_close(perturbed[[0, 2]], together[[0, 2]], rtol=1e-10, atol=1e-10)
    assert (perturbed[1] - together[1]).abs().max() > 1e-3


@every_case
def test_autocast_to_bfloat16_stays_close_and_keeps_the_dtype(name, options):
    block, x = randomise(block_of(name, options)).eval(), clip()
    exact = block(x)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16):
            y = block(x.to(dtype))
        assert y.dtype == dtype
        assert (y.float() - exact).norm() < 0.03 * (exact - x).norm() + 0.01 * exact.norm()


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if case[1] in ({}, *OF_OWN_ARITHMETIC)])
def test_autocast_to_float16_at_the_size_of_a_real_network(name, options):
    """As res3 of ResNet-50 is given it: channels of one sign after the ReLU, 784 positions a frame."""
    torch.manual_seed(1)
    block = randomise(build_attention(name, 512, 3, (28, 28), options))
    x = (2 * torch.randn(1, 3, 28, 28, 512) + torch.randn(512)).relu_().permute(0, 4, 1, 2, 3)
    exact = copy.deepcopy(block)(x)
    with torch.autocast("cpu", torch.float16):
        y = block(x)
    assert torch.isfinite(y).all()
    assert (y - exact).norm() < 0.03 * (exact - x).norm() + 0.01 * exact.norm()


@pytest.mark.parametrize("name", ["GTA", "CGNL"])
@pytest.mark.parametrize("folded", [False, True], ids=["as it is", "folded and packed"])
def test_weights_in_float16_answer_at_the_size_of_a_real_network(name, folded):
    """As a test with TEST.PRECISION float16 converts them; those behind V stay float32, folded BatchNorms with them."""
    torch.manual_seed(1)
    block = randomise(build_attention(name, 512, 3, (28, 28)))
    x = (2 * torch.randn(1, 3, 28, 28, 512) + torch.randn(512)).relu_().permute(0, 4, 1, 2, 3)
    for norm in block.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = 1.0
    block.train()(x)  # statistics of what it is given
    with torch.no_grad():
        exact = block.eval()(x)
        half = (prepack_convs_(fold_batch_norms(block)) if folded else copy.deepcopy(block)).to(torch.float16)
        y = half(x.to(torch.float16))
    assert y.dtype == torch.float16 and torch.isfinite(y).all()
    assert (y.float() - exact).norm() < 0.03 * (exact - x).norm() + 0.01 * exact.norm()


@every_case
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_gradient_is_the_derivative(name, options, training):
    torch.manual_seed(1)
    block = randomise(build_attention(name, DIM, FRAMES, (3, 2), options).double()).train(training)
    for module in block.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0  # repeated calls see the same statistics
    x = torch.randn(2, DIM, FRAMES, 3, 2, dtype=torch.float64, requires_grad=True)
    names = [key for key, _ in block.named_parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *block.parameters()), fast_mode=True, atol=1e-6)


@every_case
def test_another_number_of_frames_is_refused_or_works(name, options):
    block = randomise(block_of(name, options))
    longer = torch.cat([clip(), clip()], dim=2)
    if getattr(ATTENTION_REGISTRY.get(name), "fixed_num_frames", False):
        with pytest.raises(ValueError, match=rf"\b{FRAMES} frames\b.*\b{2 * FRAMES}\b.*\."):
            block(longer)
    else:
        assert block(longer).shape == longer.shape


@every_case
def test_copies_and_state_dicts_carry_everything(name, options):
    block, x = randomise(block_of(name, options)).eval(), clip()
    torch.manual_seed(99)
    other = build_attention(name, DIM, FRAMES, (HEIGHT, WIDTH), options).eval()
    assert not torch.equal(other(x), block(x))
    other.load_state_dict(block.state_dict(), strict=True)
    assert torch.equal(other(x), block(x))
    assert torch.equal(copy.deepcopy(block)(x), block(x))


@every_case
def test_maps_are_finite_detachable_and_leave_the_output_unchanged(name, options):
    block, x = randomise(block_of(name, options)).eval(), clip()
    if not hasattr(block, "attention_maps"):
        pytest.skip(f"{name} has no attention_maps, which is optional")
    before, state = block(x), copy.deepcopy(block.state_dict())
    maps = block.attention_maps(x)
    assert maps
    assert all(isinstance(key, str) and torch.isfinite(value).all() for key, value in maps.items())
    assert torch.equal(block(x), before)
    assert all(torch.equal(value, state[key]) for key, value in block.state_dict().items())


@every_case
def test_in_a_network_it_is_there_when_configured_and_only_then(name, options):
    keys = {"RESNET.DEPTH": 18, "ATTENTION.LOCATION": [[[]], [[1]], [[0, 1]], [[]]], "DATA.NUM_FRAMES": FRAMES}
    cfg = config(SMALL | keys | {"ATTENTION.NAME": name, "RESNET.WIDTH_PER_GROUP": 16}, options)
    with_block = build_model(cfg)
    cfg.ATTENTION.NAME = "none"
    without = build_model(cfg)
    added = set(with_block.state_dict()) - set(without.state_dict())
    assert not any("attention" in key for key in without.state_dict())
    assert {".".join(key.split(".")[:2]) for key in added} == {
        "s3.pathway0_attention1",
        "s4.pathway0_attention0",
        "s4.pathway0_attention1",
    }
    assert set(without.state_dict()) < set(with_block.state_dict())
    if getattr(ATTENTION_REGISTRY.get(name), "identity_at_init", True):
        with_block.load_state_dict(without.state_dict(), strict=False)
        x = torch.randn(1, 3, FRAMES, 64, 64)
        assert torch.equal(with_block.eval()(x), without.eval()(x))


@pytest.mark.parametrize("name", ATTENTION_REGISTRY.known())
def test_an_unknown_option_is_refused_with_the_accepted_ones(name):
    with pytest.raises(ConfigError) as fault:
        build_attention(name, DIM, FRAMES, (HEIGHT, WIDTH), {"NO_SUCH_THING": 1})
    message = str(fault.value)
    assert name in message
    assert "NO_SUCH_THING" in message
    assert "ATTENTION.OPTIONS" in message
    assert all(option in message for option in accepted_options(name))


def test_an_unknown_block_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"ATTENTION\.NAME:.*'GTTA'\..*GTA") as fault:
        small_network({"ATTENTION.NAME": "GTTA", "ATTENTION.LOCATION": [[[]], [[0]], [[]], [[]]]})
    assert all(name in str(fault.value) for name in ATTENTION_REGISTRY.known())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("GTA", {"GROUPS": 3}, r"GROUPS is 3; it must divide the 8 channels"),
        ("GTA", {"GROUPS": 0}, r"GROUPS is 0"),
        ("GTA", {"HEADS": "many"}, r"HEADS is 'many'; it must be one of ccmh, multi_head, single"),
        ("GTA", {"PIXEL": False, "REGION": False}, r"PIXEL and REGION are both off"),
        ("GTA", {"REGION_KIND": "soft"}, r"REGION_KIND is 'soft'; it must be one of dynamic, static"),
        ("GTA", {"REGION_NORM": "l2"}, r"REGION_NORM is 'l2'; it must be one of none, softmax"),
        ("GTA", {"NUM_REGIONS": 0}, r"NUM_REGIONS is 0; it must be at least 1"),
        ("GTA", {"REGION_RATIO": 0}, r"REGION_RATIO is 0; it must be at least 1"),
        ("GTA", {"POOL": "around"}, r"POOL is 'around'; it must be one of after, before, none"),
        ("GTA", {"DIM_INNER": 0, "SPATIAL": False}, r"DIM_INNER is 0; it must be at least 1"),
        ("SA", {"DIM_INNER": 0}, r"DIM_INNER is 0; it must be at least 1"),
        ("NL", {"DIM_INNER": 0}, r"DIM_INNER is 0; it must be at least 1"),
        ("NL", {"POOL_SIZE": [2, 2]}, r"POOL_SIZE is \[2, 2\]; it must be three numbers"),
        ("NL", {"POOL_SIZE": [1, 0, 2]}, r"POOL_SIZE is \[1, 0, 2\]; it must be three numbers"),
        ("NL", {"GROUP": 2}, r"GROUP is 2; it must divide the 3 frames"),
        ("NL", {"INSTANTIATION": "gaussian"}, r"INSTANTIATION is 'gaussian'; it must be softmax or dot_product"),
        ("NL", {"POOL": "around"}, r"POOL is 'around'; it must be one of"),
        ("TAPE", {"POOL": "around", "SPATIAL": True}, r"POOL is 'around'"),
    ],
)
def test_a_refused_value_names_the_key_the_value_and_what_is_allowed(name, options, message):
    with pytest.raises(ConfigError, match=rf"^ATTENTION at res4, block 3.*: {name} with 32 channels.*{message}"):
        build_attention(name, DIM, FRAMES, (HEIGHT, WIDTH), options, "ATTENTION at res4, block 3, pathway 0")


def test_static_regions_need_the_size_they_are_for():
    with pytest.raises(ConfigError, match="spatial_size"):
        build_attention("GTA", DIM, FRAMES, None, {"REGION_KIND": "static"})


# ----------------------------------------------------------------------------------- earlier words of the contract


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_block_with_an_old_contract_name_is_given_the_new_name(old, new):
    named = type("OldWords", (nn.Module,), {old: True})
    with pytest.raises(ConfigError, match=f"OldWords.*`{old}`.*`{new}`"):
        ATTENTION_REGISTRY.register(named)
    assert "OldWords" not in ATTENTION_REGISTRY

    def late(dim: int, num_frames: int) -> nn.Module:
        block = nn.Identity()
        setattr(block, old, False)
        return block

    with pytest.raises(ConfigError, match=f"`{old}`.*`{new}`"):
        AttentionChoice("Late", late, {}, "ATTENTION.OPTIONS").build(8, 4)

"""Other people's files, made here in their exact formats by mappings written down from ours to theirs."""

import errno
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from miniatures import ROOT
from torch import nn
from weight_files import SMALL, assert_refused, assert_unchanged, flat, model_of, small, torchvision_names

from slowfast_gta import build_model, load_config, load_weights
from slowfast_gta.commands import run_command
from slowfast_gta.errors import WeightsError
from slowfast_gta.models.weights import load_weights_for, save_safetensors
from slowfast_gta.models.weights.fit import resample_time

PARITY = ROOT.parent / "shared" / "parity"
BASIC = ["RESNET.TRANS_FUNC", "basic_transform", "RESNET.EXPANSION", 1]
NONLOCAL = ["NONLOCAL.LOCATION", [[[]], [[0]], [[0]], [[]]]]
GTA_AT = ["ATTENTION.LOCATION", [[[]], [[0]], [[]], [[]]]]
SLOWFAST = {
    "MODEL": {"MODEL_NAME": "SlowFast", "ARCH": "slowfast", "NUM_CLASSES": 5},
    "DATA": {"NUM_FRAMES": 8, "TRAIN_CROP_SIZE": 64, "INPUT_CHANNEL_NUM": [3, 3]},
    "SLOWFAST": {"ALPHA": 4, "BETA_INV": 2},
    "RESNET": {
        **{"DEPTH": 14, "WIDTH_PER_GROUP": 8, "NUM_BLOCK_TEMP_KERNEL": [[1, 1]] * 4},
        **{"SPATIAL_STRIDES": [[1, 1], [2, 2], [2, 2], [2, 2]], "SPATIAL_DILATIONS": [[1, 1]] * 4},
    },
    "NONLOCAL": {"LOCATION": [[[], []], [[0], []], [[0], []], [[], []]], "GROUP": [[1, 1]] * 4},
}


@pytest.fixture
def slowfast_cfg(tmp_path) -> Path:
    path = tmp_path / "slowfast.yaml"
    path.write_text(yaml.safe_dump(SLOWFAST))
    return path


def randomised(model: nn.Module) -> nn.Module:
    """`model` with no two tensors equal, BatchNorms' scales and statistics included: swapped names cannot hide."""
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    return model


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if "num_batches_tracked" not in name}


def caffe2_name(name: str, last_block: dict[str, int]) -> str:
    """Our name -> caffe2's; last_block: the index of each stage's last residual block."""
    *modules, part = name.split(".")
    norm = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
    kernel = {"weight": "w", "bias": "b"}
    if modules == ["head", "projection"]:
        return f"pred_{kernel[part]}"
    stage = modules[0].removeprefix("s").removesuffix("_fuse")
    if modules[0].endswith("_fuse"):
        before = "t_pool1_subsample" if stage == "1" else f"t_res{stage}_{last_block[stage]}_branch2c_bn_subsample"
        return f"{before}_bn_{norm[part]}" if modules[1] == "bn" else f"{before}_{kernel[part]}"
    pathway, what = modules[1].split("_")
    fast = {"pathway0": "", "pathway1": "t_"}[pathway]
    if what == "stem":
        return f"{fast}res_conv1_bn_{norm[part]}" if modules[2] == "bn" else f"{fast}conv1_{kernel[part]}"
    if what.startswith("nonlocal"):
        before = f"nonlocal_conv{stage}_{what.removeprefix('nonlocal')}"
        if modules[2] == "bn":
            return f"{before}_bn_{norm[part]}"
        return f"{before}_{modules[2].removeprefix('conv_')}_{kernel[part]}"
    before = f"{fast}res{stage}_{what.removeprefix('res')}_"
    layer = modules[2] if modules[2].startswith("branch1") else "branch2" + modules[3]
    if layer.endswith("_bn"):
        return f"{before}{layer}_{norm[part]}"
    return f"{before}{layer}_{kernel[part]}"


def save_as_caffe2(state: dict[str, torch.Tensor], path: Path, protocol: int = 2) -> Path:
    """The PySlowFast zoo's .pkl with these weights, and what training leaves there."""
    last_block = {}
    for name in state:
        stage, _, rest = name.partition(".pathway0_res")
        if rest:
            last_block[stage[1:]] = max(last_block.get(stage[1:], 0), int(rest.split(".")[0]))
    blobs = {}
    for name, value in state.items():
        if "num_batches_tracked" not in name:
            theirs = caffe2_name(name, last_block)
            assert theirs not in blobs
            blobs[theirs] = value.numpy()
            if theirs.endswith("_w"):
                blobs[f"{theirs}_momentum"] = np.zeros(value.shape, np.float32)
    blobs |= {"lr": np.float32(0.1), "model_iter": np.array([195.0]), "epoch_lr": 0.1}
    path.write_bytes(pickle.dumps({"blobs": blobs, "cfg": "MODEL:\n"}, protocol))
    return path


# ------------------------------------------------------------------------------------------ caffe2


def test_caffe2_names_are_those_of_the_zoo():
    """The mapping above, held against names as the reference has them."""
    assert {
        caffe2_name(name, {"3": 3})
        for name in (
            *("s1.pathway1_stem.conv.weight", "s1.pathway0_stem.bn.running_var", "s1_fuse.bn.weight"),
            *("s3_fuse.conv_f2s.weight", "s3_fuse.bn.bias", "s2.pathway0_res0.branch1_bn.weight"),
            *("s4.pathway1_res5.branch2.b_bn.running_mean", "s3.pathway0_nonlocal1.conv_g.bias"),
            *("s3.pathway0_nonlocal1.bn.weight", "head.projection.weight"),
        )
    } == {
        *("t_conv1_w", "res_conv1_bn_riv", "t_pool1_subsample_bn_s", "t_res3_3_branch2c_bn_subsample_w"),
        *("t_res3_3_branch2c_bn_subsample_bn_b", "res2_0_branch1_bn_s", "t_res4_5_branch2b_bn_rm"),
        *("nonlocal_conv3_1_g_b", "nonlocal_conv3_1_bn_s", "pred_w"),
    }


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_caffe2_slowfast_with_nonlocal_blocks_loads_whole(tmp_path, slowfast_cfg, protocol):
    cfg = load_config(slowfast_cfg)
    source, target = randomised(build_model(cfg)), randomised(build_model(cfg))
    report = load_weights(target, save_as_caffe2(source.state_dict(), tmp_path / "a.pkl", protocol), fine_tune=False)
    assert set(report.loaded) == set(weights_of(source)) and report.kind == "caffe2"
    assert_unchanged(target, target.state_dict() | weights_of(source))
    assert not (report.unexpected or report.missing or report.mismatched)
    assert all("num_batches_tracked" in name for name in report.new)
    assert {"lr", "model_iter", "conv1_w_momentum"} <= set(report.skipped)
    assert "caffe2, input RGB," in str(report) and "skipped" in str(report)


def test_caffe2_matrices_are_1x1x1_kernels(tmp_path):
    source, target = randomised(small(*NONLOCAL, seed=1)), small(*NONLOCAL, seed=2)
    state = {k: v.flatten(1) if v.ndim == 5 and v[0, 0].numel() == 1 else v for k, v in weights_of(source).items()}
    report = load_weights(target, save_as_caffe2(state, tmp_path / "a.pkl"))
    assert "s3.pathway0_nonlocal0.conv_theta.weight" in report.reshaped and not report.mismatched
    assert_unchanged(target, target.state_dict() | weights_of(source))


def test_caffe2_numbers_of_a_machine_with_the_other_byte_order(tmp_path):
    source, target = randomised(small(seed=1)), small(seed=2)
    content = pickle.loads(save_as_caffe2(source.state_dict(), tmp_path / "a.pkl").read_bytes())
    content["blobs"]["conv1_w"] = content["blobs"]["conv1_w"].astype(">f4")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, 2))
    load_weights(target, tmp_path / "a.pkl")
    assert_unchanged(target, target.state_dict() | weights_of(source))


def test_the_order_of_colours_is_noted_and_the_config_is_held_against_it(tmp_path, caplog):
    path = save_as_caffe2(small(seed=1).state_dict(), tmp_path / "a.pkl")

    def notes(*overrides, file: Path = path) -> list[str]:
        cfg = load_config(ROOT / "configs" / "SSv2" / "R2D50.yaml", [*SMALL, *overrides])
        return load_weights_for(cfg, build_model(cfg), file, fine_tune=True).notes

    with caplog.at_level("WARNING", logger="slowfast_gta"):
        (note,) = notes()
    assert re.search(r"DATA\.REVERSE_INPUT_CHANNEL False\b.*\bRGB\b.*\bTrue\b.*\bBGR\b", note)
    assert note in caplog.text
    (note,) = notes("DATA.REVERSE_INPUT_CHANNEL", True)
    assert re.search(r"DATA\.REVERSE_INPUT_CHANNEL True\b.*\bBGR\b.*\bFalse\b", note)
    torch.save(foreign_state("torchvision", small(seed=1)), tmp_path / "a.pth")
    assert notes(file=tmp_path / "a.pth") == []
    (note,) = notes("DATA.REVERSE_INPUT_CHANNEL", True, file=tmp_path / "a.pth")
    assert note == (
        "these weights were trained on RGB, and DATA.REVERSE_INPUT_CHANNEL True gives the network BGR: set it to False."
    )
    ours = {"model_state": small(seed=1).state_dict(), "origin": {"input": "BGR"}}
    torch.save(ours, tmp_path / "a.pyth")
    assert notes("DATA.REVERSE_INPUT_CHANNEL", True, file=tmp_path / "a.pyth") == []
    (note,) = notes(file=tmp_path / "a.pyth")
    assert "trained on BGR" in note and note.endswith("gives the network RGB: set it to True.")
    save_safetensors(small(seed=1), tmp_path / "a.safetensors", {"input": "BGR"})  # as check_weights --save does
    assert notes(file=tmp_path / "a.safetensors") == [note]
    torch.save(ours | {"origin": ["input"]}, tmp_path / "a.pyth")  # not a checkpoint of ours
    assert notes(file=tmp_path / "a.pyth") == []


@pytest.mark.parametrize("case", ["c2d_nln_r50", "slowfast_nln_8x8_r50"])
def test_what_pyslowfast_computed_out_of_a_caffe2_file(case, tmp_path):
    if not PARITY.is_dir():
        pytest.skip(f"{PARITY} is not here: nothing of PySlowFast's to compare with")
    described = json.loads((PARITY / f"{case}.json").read_text())
    cfg = load_config(parity_yaml(described["yaml"], tmp_path), [x for pair in described["opts"].items() for x in pair])
    state = torch.load(PARITY / f"{case}.pyth", weights_only=True)["model_state"]
    model = build_model(cfg)
    report = load_weights(model, save_as_caffe2(state, tmp_path / "a.pkl"), fine_tune=False)
    assert set(report.loaded) == {name for name in state if "num_batches_tracked" not in name}
    recorded = torch.load(PARITY / f"{case}.io.pt", weights_only=True)
    with torch.no_grad():
        probabilities = model.eval()(recorded["clip"].float())
    torch.testing.assert_close(probabilities, recorded["probabilities"], rtol=0, atol=1e-5)


def parity_yaml(name: str, folder: Path) -> Path:
    """The keys of a PySlowFast YAML that shape the network."""
    nodes = {
        "C2D_NLN_8x8_R50.yaml": {
            "MODEL": {"MODEL_NAME": "ResNet", "ARCH": "c2d"},
            "DATA": {"NUM_FRAMES": 8, "INPUT_CHANNEL_NUM": [3]},
            "RESNET": {"DEPTH": 50, "NUM_BLOCK_TEMP_KERNEL": [[3], [4], [6], [3]]},
            "NONLOCAL": {"LOCATION": [[[]], [[1, 3]], [[1, 3, 5]], [[]]], "INSTANTIATION": "softmax"},
        },
        "SLOWFAST_NLN_8x8_R50.yaml": {
            "MODEL": {"MODEL_NAME": "SlowFast", "ARCH": "slowfast"},
            "DATA": {"NUM_FRAMES": 32, "INPUT_CHANNEL_NUM": [3, 3]},
            "SLOWFAST": {"ALPHA": 4, "BETA_INV": 8, "FUSION_CONV_CHANNEL_RATIO": 2, "FUSION_KERNEL_SZ": 5},
            "RESNET": {
                "DEPTH": 50,
                "NUM_BLOCK_TEMP_KERNEL": [[3, 3], [4, 4], [6, 6], [3, 3]],
                **{"SPATIAL_STRIDES": [[1, 1], [2, 2], [2, 2], [2, 2]], "SPATIAL_DILATIONS": [[1, 1]] * 4},
            },
            "NONLOCAL": {"LOCATION": [[[], []], [[1, 3], []], [[1, 3, 5], []], [[], []]], "GROUP": [[1, 1]] * 4},
        },
    }
    path = folder / "network.yaml"
    path.write_text(yaml.safe_dump(nodes[Path(name).name]))
    return path


# ------------------------------------------------------------------------------------------ ResNets of other trainers


def foreign_state(kind: str, model: nn.Module, wrapped: str = "") -> dict[str, torch.Tensor]:
    """`model`'s weights under another trainer's names, 2D kernels and all; `wrapped`: what TSM wraps."""
    names = torchvision_names(model) if hasattr(model.s2.pathway0_res0.branch2, "c") else basic_names(model)
    assert set(names) == set(model.state_dict())
    renamed = {"torchvision": lambda name: name, "tsm": tsm_name, "mmaction2": mmaction2_name}[kind]
    wraps = {"tsm": (".conv1.", ".conv1.net."), "mmaction2": (".conv1.conv.", ".conv1.conv.net.")}
    state = {}
    for ours, name in names.items():
        name = renamed(name)
        if ".layer" in name and wrapped == "block":
            name = re.sub(r"(layer\d\.\d+)\.", r"\1.net.", name)
        elif ".layer" in name and wrapped == "blockres":
            name = name.replace(*wraps[kind])
        state[name] = flat(model.state_dict()[ours])
    return state


def tsm_name(name: str) -> str:
    return f"module.new_fc.{name.removeprefix('fc.')}" if name.startswith("fc.") else f"module.base_model.{name}"


def mmaction2_name(name: str) -> str:
    *modules, part = name.split(".")
    if modules == ["fc"]:
        return f"cls_head.fc_cls.{part}"
    last = modules.pop()
    if modules and modules[-1] == "downsample":
        modules.append({"0": "conv", "1": "bn"}[last])
    else:
        modules += [last.replace("bn", "conv"), "conv" if last.startswith("conv") else "bn"]
    return ".".join(["backbone", *modules, part])


def basic_names(model: nn.Module) -> dict[str, str]:
    """Our name -> torchvision's for ResNet-18 and -34: two 3x3 convolutions a block."""
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    pairs = {"s1.pathway0_stem.conv.weight": "conv1.weight", "head.projection.weight": "fc.weight"}
    pairs |= {"head.projection.bias": "fc.bias"} | {f"s1.pathway0_stem.bn.{part}": f"bn1.{part}" for part in parts}
    for stage in range(2, 6):
        for name, block in getattr(model, f"s{stage}").named_children():
            ours, theirs = f"s{stage}.{name}", f"layer{stage - 1}.{name.removeprefix('pathway0_res')}"
            for letter, number in (("a", 1), ("b", 2)):
                pairs[f"{ours}.branch2.{letter}.weight"] = f"{theirs}.conv{number}.weight"
                pairs |= {f"{ours}.branch2.{letter}_bn.{part}": f"{theirs}.bn{number}.{part}" for part in parts}
            if block.branch1 is not None:
                pairs[f"{ours}.branch1.weight"] = f"{theirs}.downsample.0.weight"
                pairs |= {f"{ours}.branch1_bn.{part}": f"{theirs}.downsample.1.{part}" for part in parts}
    return pairs


@pytest.mark.parametrize(("depth", "block"), [(18, BASIC), (34, BASIC), (50, []), (101, [])])
@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_torchvision_and_timm_resnets(tmp_path, depth, block, form):
    overrides = [*SMALL, *block, "RESNET.DEPTH", depth]
    source, target = randomised(model_of(*overrides, seed=1)), model_of(*overrides, seed=2)
    state = foreign_state("torchvision", source)
    path = tmp_path / f"resnet.{form}"
    if form == "pth":
        torch.save(state, path)
    else:
        save_safetensors(Tensors(state), path)
    report = load_weights(target, path, fine_tune=False)
    assert_unchanged(target, source.state_dict())
    assert len(report.loaded) + len(report.reshaped) == len(state) and report.kind == "torchvision"
    assert not (report.new or report.missing or report.unexpected or report.mismatched)


class Tensors(nn.Module):
    """A module whose state dict has these names, dots and all."""

    def __init__(self, state: dict[str, torch.Tensor]):
        super().__init__()
        self.state = state

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.state


@pytest.mark.parametrize(
    ("kind", "wrapped"), [("tsm", "blockres"), ("tsm", "block"), ("mmaction2", ""), ("mmaction2", "blockres")]
)
def test_tsm_and_mmaction2_checkpoints(tmp_path, kind, wrapped):
    source, target = randomised(small(seed=1)), small(seed=2)
    state = foreign_state(kind, source, wrapped)
    examples = {
        ("tsm", "blockres"): "module.base_model.layer1.0.conv1.net.weight",
        ("tsm", "block"): "module.base_model.layer1.0.net.conv1.weight",
        ("mmaction2", ""): "backbone.layer3.0.conv1.conv.weight",
        ("mmaction2", "blockres"): "backbone.layer3.0.conv1.conv.net.weight",
    }
    assert examples[kind, wrapped] in state and ("module.new_fc.weight" in state or "cls_head.fc_cls.bias" in state)
    torch.save({"epoch": 50, "arch": "resnet50", "state_dict": state, "meta": {"epoch": 50}}, tmp_path / "a.pth")
    report = load_weights(target, tmp_path / "a.pth", fine_tune=False)
    assert_unchanged(target, source.state_dict())
    assert report.kind == kind and not (report.new or report.unexpected)


def test_tsm_weights_in_a_network_without_shift_are_reported(tmp_path):
    torch.save(foreign_state("tsm", small(seed=1)), tmp_path / "a.pth")
    for enabled, count in ((False, 1), (True, 0)):
        overrides = [*SMALL, "TSM.ENABLE", enabled]
        cfg = load_config(ROOT / "configs" / "SSv2" / "R2D50.yaml", overrides)
        notes = load_weights_for(cfg, build_model(cfg), tmp_path / "a.pth", fine_tune=True).notes
        assert len(notes) == count and all("TSM.ENABLE is False" in note for note in notes)


def test_pyslowfast_s_sub_batch_norm_is_folded(tmp_path):
    """SubBatchNorm3d keeps weight and bias, `bn` with the statistics it answers with, `split_bn` with its parts'."""
    source, target = randomised(small(seed=1)), small(seed=2)
    state = {}
    for name, value in source.state_dict().items():
        module, _, part = name.rpartition(".")
        if not module.endswith("bn"):
            state[name] = value
        elif part in ("weight", "bias"):
            state[name] = value[:, None, None, None]
        elif part == "num_batches_tracked":
            state |= {f"{module}.bn.{part}": torch.tensor(0), f"{module}.split_bn.{part}": value}
        else:
            state |= {f"{module}.bn.{part}": value, f"{module}.split_bn.{part}": torch.rand(4 * len(value))}
    torch.save({"model_state": state}, tmp_path / "a.pyth")
    report = load_weights(target, tmp_path / "a.pyth", fine_tune=False)
    assert_unchanged(target, source.state_dict())
    assert not (report.unexpected or report.missing) and "s1.pathway0_stem.bn.split_bn.running_var" in report.skipped


def test_two_names_for_one_tensor_are_refused(tmp_path):
    state = small().state_dict()
    state["s1.pathway0_stem.bn.bn.running_mean"] = state["s1.pathway0_stem.bn.running_mean"]
    torch.save(state, tmp_path / "a.pyth")
    assert_refused(small(), tmp_path / "a.pyth", "two tensors for s1.pathway0_stem.bn.running_mean")


# ------------------------------------------------------------------------------------------ our own, written


@pytest.mark.parametrize(("name", "overrides"), [("R2D50.yaml", []), ("R2D50_GTA.yaml", GTA_AT)])
def test_safetensors_there_and_back_bit_for_bit(tmp_path, name, overrides):
    source, target = (model_of(*SMALL, *overrides, name=name, seed=seed) for seed in (1, 2))
    path = tmp_path / "a.safetensors"
    save_safetensors(source, path, {"class_names": json.dumps(["a", "ß"])})
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    assert set(header) - {"__metadata__"} == set(source.state_dict()) and length % 8 == 0
    report = load_weights(target, path, fine_tune=False)
    assert_unchanged(target, source.state_dict())
    assert report.class_names == ["a", "ß"] and set(report.loaded) == set(source.state_dict())
    stem = header["s1.pathway0_stem.conv.weight"]
    begin, end = (8 + length + offset for offset in stem["data_offsets"])
    numbers = np.frombuffer(path.read_bytes()[begin:end], "<f4").reshape(stem["shape"])
    np.testing.assert_array_equal(numbers, source.s1.pathway0_stem.conv.weight.detach().numpy())


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=rf"{tmp_path}/no/a\.safetensors\b.*{os.strerror(errno.ENOENT)}"):
        save_safetensors(small(), tmp_path / "no" / "a.safetensors")


# ------------------------------------------------------------------------------------------ another number of frames


def test_embeddings_are_interpolated_between_the_frames():
    value = torch.randn(4, 6, dtype=torch.float64)
    centres = (np.arange(8) + 0.5) * 4 / 8 - 0.5
    expected = np.stack([np.interp(centres, np.arange(4), column) for column in value.T.numpy()], axis=1)
    np.testing.assert_allclose(resample_time(value, (0,), 8), expected, atol=1e-12)


@pytest.mark.parametrize(("before", "after"), [(4, 8), (8, 4), (8, 12), (16, 5), (8, 8)])
def test_a_matrix_acts_on_equal_frames_as_before(before, after):
    matrix = torch.randn(2, 3, before, before, dtype=torch.float64)
    found = resample_time(matrix, (2, 3), after)
    assert found.shape == (2, 3, after, after)
    torch.testing.assert_close(found.sum(3), resample_time(matrix.sum(3), (2,), after))
    if before == after:
        torch.testing.assert_close(found, matrix)
    delta = resample_time(torch.eye(before, dtype=torch.float64), (0, 1), after)
    assert (delta.argmax(1) - torch.arange(after)).abs().max() <= max(1, after // before), "still the diagonal"


@pytest.mark.parametrize(
    ("name", "parameter"), [("R2D50_GTA.yaml", "pixel.mix.weight"), ("R2D50_SA_TAPE.yaml", "temporal.embedding")]
)
def test_another_number_of_frames_only_on_request(tmp_path, name, parameter):
    before = model_of(*SMALL, *GTA_AT, "DATA.NUM_FRAMES", 4, name=name, seed=1)
    torch.save(before.state_dict(), tmp_path / "a.pyth")
    after = model_of(*SMALL, *GTA_AT, "DATA.NUM_FRAMES", 8, name=name, seed=2)
    parameter = f"s3.pathway0_attention0.{parameter}"
    assert_refused(after, tmp_path / "a.pyth", "attention0.*CHECKPOINT_RESAMPLE_TIME True allows that")
    report = load_weights(after, tmp_path / "a.pyth", fine_tune=False, resample_time=True)
    assert parameter in report.resampled and "resampled" in str(report) and parameter in report.table()
    assert set(report.resampled) | set(report.loaded) == set(after.state_dict())
    axes = (2, 3) if "mix" in parameter else (0,)
    expected = resample_time(before.state_dict()[parameter], axes, 8)
    torch.testing.assert_close(after.state_dict()[parameter], expected)
    again = load_weights(
        model_of(*SMALL, *GTA_AT, "DATA.NUM_FRAMES", 4, name=name), tmp_path / "a.pyth", resample_time=True
    )
    assert not again.resampled


def test_another_number_of_groups_is_not_resampled_away(tmp_path):
    options = ["ATTENTION.OPTIONS.GROUPS", 4]
    torch.save(model_of(*SMALL, *GTA_AT, *options, name="R2D50_GTA.yaml").state_dict(), tmp_path / "a.pyth")
    target = model_of(*SMALL, *GTA_AT, "DATA.NUM_FRAMES", 4, name="R2D50_GTA.yaml")
    assert_refused(target, tmp_path / "a.pyth", "mix.weight .4x4x8x8 in the file, 8x8x4x4", resample_time=True)


# ------------------------------------------------------------------------------------------ tools/check_weights.py


def check(capsys, *arguments: object, cfg: str = "R2D50.yaml") -> tuple[int, str, str]:
    file, *rest = map(str, arguments)
    flags = [part for part in rest if part.startswith("--")]
    rest = [part for part in rest if not part.startswith("--")]
    where = ["--cfg", str(ROOT / "configs" / "SSv2" / cfg), *map(str, SMALL), *rest]
    code = run_command("check_weights", [file, *where, *flags])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def test_check_weights_reports_what_fits(tmp_path, capsys):
    torch.save({"model_state": small(seed=1).state_dict(), "class_names": ["a", "b"]}, tmp_path / "a.pyth")
    code, out, _ = check(capsys, tmp_path / "a.pyth")
    assert code == 0 and "fits: every tensor" in out and "loaded" in out
    code, out, _ = check(capsys, tmp_path / "a.pyth", *GTA_AT, cfg="R2D50_GTA.yaml")
    assert code == 0 and "s3.pathway0_attention0.spatial.query.weight" in out and "newly initialised: " in out
    code, out, _ = check(capsys, tmp_path / "a.pyth", "RESNET.DEPTH", 18)
    assert code == 1 and "missing" in out and "s2.pathway0_res1.branch2.a.weight" in out and "does not fit" in out
    code, out, _ = check(capsys, tmp_path / "a.pyth", "MODEL.ARCH", "i3d", "RESNET.NUM_BLOCK_TEMP_KERNEL", [[1]] * 4)
    assert code == 1 and "TRAIN.CHECKPOINT_INFLATE True allows that" in out


def test_check_weights_json_is_one_document(tmp_path, capsys):
    path = save_as_caffe2(small(seed=1).state_dict(), tmp_path / "a.pkl")
    code, out, _ = check(capsys, path, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["fits"] and answer["kind"] == "caffe2" and answer["input"] == "RGB"
    assert answer["counts"]["loaded"] == len(answer["loaded"]) == len(weights_of(small()))
    assert "conv1_w_momentum" in answer["skipped"] and "REVERSE_INPUT_CHANNEL" in answer["notes"][0]
    code, out, _ = check(capsys, path, "RESNET.WIDTH_PER_GROUP", 16, "--json")
    assert code == 1 and not json.loads(out)["fits"] and "does not match the network" in json.loads(out)["error"]
    path.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    code, out, _ = check(capsys, path, "--json")
    assert code == 1 and "os.system" in json.loads(out)["error"]
    code, out, err = check(capsys, path)
    assert code == 1 and not out and "os.system" in err


def test_check_weights_resamples_and_saves_on_request(tmp_path, capsys):
    state = model_of(*SMALL, *GTA_AT, "DATA.NUM_FRAMES", 4, name="R2D50_GTA.yaml", seed=1).state_dict()
    torch.save({"model_state": state, "class_names": ["a", "b", "c", "d", "e"]}, tmp_path / "a.pyth")
    out_file = tmp_path / "b.safetensors"
    code, out, _ = check(capsys, tmp_path / "a.pyth", *GTA_AT, cfg="R2D50_GTA.yaml")
    assert code == 1 and "TRAIN.CHECKPOINT_RESAMPLE_TIME True allows that" in out
    arguments = (tmp_path / "a.pyth", *GTA_AT, "--resample-time", f"--save={out_file}")
    code, out, _ = check(capsys, *arguments, cfg="R2D50_GTA.yaml")
    assert code == 0 and "resampled" in out and "Saved as" in out
    target = model_of(*SMALL, *GTA_AT, name="R2D50_GTA.yaml", seed=2)
    assert load_weights(target, out_file, fine_tune=False).class_names == ["a", "b", "c", "d", "e"]


def test_check_weights_used_wrongly(tmp_path, capsys):
    torch.save(small().state_dict(), tmp_path / "a.pyth")
    assert check(capsys, tmp_path / "a.pyth", f"--save={tmp_path / 'b.pth'}")[0] == 2
    assert check(capsys, tmp_path / "a.pyth", "RESNET.DEPTHS", 50)[0] == 2
    assert check(capsys, tmp_path / "none.pyth")[0] == 1

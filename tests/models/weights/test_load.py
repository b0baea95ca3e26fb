"""Weights from other people's files: every tensor's fate is said, nothing in a file runs, a misfit changes nothing."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from weight_files import (
    SMALL,
    SSV2,
    Reduced,
    assert_refused,
    assert_unchanged,
    model_of,
    small,
    snapshot,
    torchvision_names,
)

from slowfast_gta import load_config, load_weights
from slowfast_gta.models.weights import check_weights
from slowfast_gta.models.weights.report import Mismatch, MismatchKind

I3D = ["MODEL.ARCH", "i3d", "RESNET.NUM_BLOCK_TEMP_KERNEL", [[1], [1], [1], [1]]]


def save_as_torchvision(model: nn.Module, path: Path, num_classes: int = 1000) -> dict[str, torch.Tensor]:
    """What torchvision's resnet50 state dict would be with `model`'s weights, and an ImageNet classifier."""
    state, pairs = model.state_dict(), torchvision_names(model)
    assert set(pairs) == set(state)
    renamed = {
        theirs: state[ours].squeeze(2) if state[ours].ndim == 5 else state[ours] for ours, theirs in pairs.items()
    }
    dim = state["head.projection.weight"].shape[1]
    renamed |= {"fc.weight": torch.randn(num_classes, dim), "fc.bias": torch.randn(num_classes)}
    torch.save(renamed, path)
    return renamed


def pyslowfast_checkpoint(model: nn.Module, path: Path, prefix: str = "") -> Path:
    state = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({"epoch": 195, "model_state": state, "optimizer_state": {"state": {}}, "cfg": "TRAIN:\n"}, path)
    return path


# ------------------------------------------------------------------------------------------ what fits


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_pyslowfast_checkpoint_loads_whole(tmp_path, prefix):
    source, target = small(seed=1), small(seed=2)
    report = load_weights(target, pyslowfast_checkpoint(source, tmp_path / "a.pyth", prefix))
    assert_unchanged(target, source.state_dict())
    assert sorted(report.loaded) == sorted(source.state_dict()) and report.kind == "pyslowfast"
    assert not (report.missing or report.unexpected or report.mismatched or report.new)


@pytest.mark.parametrize("wrap", ["state_dict", "model"])
def test_other_trainers_wrappers(tmp_path, wrap):
    source, target = small(seed=1), small(seed=2)
    torch.save({wrap: source.state_dict(), "epoch": 3}, tmp_path / "a.pth")
    load_weights(target, tmp_path / "a.pth")
    assert_unchanged(target, source.state_dict())


@pytest.mark.parametrize("name", ["R2D50.yaml", "R2D50_GTA.yaml"])
def test_imagenet_weights_go_into_r2d50_and_its_gta(tmp_path, name):
    theirs = save_as_torchvision(model_of(seed=1), tmp_path / "resnet50.pth")
    target = model_of(name=name, seed=2)
    before = snapshot(target)
    report = load_weights(target, tmp_path / "resnet50.pth")
    after = target.state_dict()
    for ours, name_there in torchvision_names(model_of()).items():
        if not ours.startswith("head."):
            assert torch.equal(after[ours].squeeze(2) if after[ours].ndim == 5 else after[ours], theirs[name_there])
    inserted = [key for key in after if "_attention" in key]
    assert bool(inserted) == (name == "R2D50_GTA.yaml")
    for key in [*inserted, "head.projection.weight", "head.projection.bias"]:
        assert torch.equal(after[key], before[key]), key
    weight, bias = report.renewed
    assert weight == Mismatch("head.projection.weight", MismatchKind.SHAPE, (1000, 2048), (174, 2048))
    assert (bias.name, bias.shape_in_file) == ("head.projection.bias", (1000,))
    assert set(report.new) == {*inserted, weight.name, bias.name}
    assert len(report.loaded) + len(report.reshaped) == len(theirs) - 2
    assert not (report.missing or report.unexpected or report.mismatched or report.inflated)
    assert "new" in str(report) and "head.projection.weight" in str(report)


def test_imagenet_weights_inflate_into_i3d(tmp_path):
    theirs = save_as_torchvision(small(seed=1), tmp_path / "r14.pth")
    target = small(*I3D, seed=2)
    report = load_weights(target, tmp_path / "r14.pth", inflate=True)
    assert report.inflated
    after, pairs = target.state_dict(), torchvision_names(small())
    for ours in report.inflated:
        assert after[ours].shape[2] > 1
        torch.testing.assert_close(after[ours].sum(2), theirs[pairs[ours]], atol=1e-6, rtol=1e-5)
        assert torch.equal(after[ours][:, :, 0], after[ours][:, :, 1]), "every frame has the same share"
    assert_refused(target, tmp_path / "r14.pth", "do not fit", inflate=False)


def test_an_inflated_2d_network_gives_the_same_scores_on_a_still(tmp_path):
    """What inflation is for, away from the padding of a kernel in time: so with kernels of the stem only."""
    source = small(seed=1)
    path = pyslowfast_checkpoint(source, tmp_path / "a.pyth")
    target = small(*I3D, seed=2)
    load_weights(target, path)
    still = torch.randn(1, 3, 1, 16, 16).expand(1, 3, 9, 16, 16)
    with torch.no_grad():
        flat = source.s1.pathway0_stem.conv(still)
        deep = target.s1.pathway0_stem.conv(still)
    torch.testing.assert_close(deep[:, :, 4], flat[:, :, 4], atol=1e-5, rtol=1e-4)


def test_our_own_checkpoint_has_class_names_and_averages(tmp_path):
    source, averaged, target = small(seed=1), small(seed=3), small(seed=2)
    content = {"model_state": source.state_dict(), "ema_state": averaged.state_dict(), "class_names": ["a", "b"]}
    torch.save(content, tmp_path / "a.pyth")
    assert load_weights(target, tmp_path / "a.pyth").class_names == ["a", "b"]
    assert_unchanged(target, source.state_dict())
    load_weights(target, tmp_path / "a.pyth", ema=True)
    assert_unchanged(target, averaged.state_dict())


def test_older_files_without_batch_counters_load(tmp_path):
    state = {key: value for key, value in small(seed=1).state_dict().items() if "num_batches_tracked" not in key}
    torch.save(state, tmp_path / "a.pth")
    report = load_weights(small(seed=2), tmp_path / "a.pth")
    assert report.new and all(name.endswith("num_batches_tracked") for name in report.new) and not report.missing


def test_what_is_too_much_is_reported(tmp_path):
    torch.save(small().state_dict() | {"s5.extra.weight": torch.zeros(3)}, tmp_path / "a.pth")
    report = load_weights(small(), tmp_path / "a.pth")
    assert report.unexpected == ["s5.extra.weight"] and "s5.extra.weight" in str(report)


# ------------------------------------------------------------------------------------------ what does not fit


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("RESNET.DEPTH", 18), "it lacks [0-9]+ tensors of the network.*DEPTH"),
        (("RESNET.WIDTH_PER_GROUP", 16), "do not fit: .*8x3x1x7x7 in the file, 16x3x1x7x7 in the network"),
        (("RESNET.TRANS_FUNC", "basic_transform"), "does not match the network.*Nothing was loaded"),
    ],
)
def test_another_network_is_refused_and_nothing_changes(tmp_path, overrides, words):
    path = pyslowfast_checkpoint(small(seed=1), tmp_path / "a.pyth")
    assert_refused(small(*overrides, seed=2), path, words)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(tmp_path, number):
    state = snapshot(small(seed=1))
    state["s3.pathway0_res0.branch2.b_bn.running_var"][3] = number
    torch.save(state, tmp_path / "w.pth")
    words = r"do not fit: 1 \(s3.pathway0_res0.branch2.b_bn.running_var \(numbers in it are not finite\)"
    assert_refused(small(seed=2), tmp_path / "w.pth", words)


def test_a_mismatch_has_a_name_and_a_kind(tmp_path):
    """A 2D file for a 3D network, which may not inflate; one of its tensors fits and is not finite."""
    state = small(seed=1).state_dict()
    state["s2.pathway0_res0.branch2.b_bn.weight"][0] = float("nan")
    state["s2.pathway0_res0.branch2.b.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "a.pth")
    cfg = load_config(SSV2 / "R2D50.yaml", [*SMALL, *I3D, "TRAIN.CHECKPOINT_INFLATE", False])
    found = {mismatch.name: mismatch for mismatch in check_weights(cfg, small(*I3D), tmp_path / "a.pth").mismatched}
    stem = found.pop("s1.pathway0_stem.conv.weight")
    assert stem == Mismatch(stem.name, MismatchKind.NEEDS_INFLATION, (8, 3, 1, 7, 7), (8, 3, 5, 7, 7))
    assert found.pop("s2.pathway0_res0.branch2.b_bn.weight").kind is MismatchKind.NOT_FINITE
    assert found.pop("s2.pathway0_res0.branch2.b.weight").kind is MismatchKind.SHAPE
    assert {mismatch.kind for mismatch in found.values()} == {MismatchKind.NEEDS_INFLATION}


def test_another_number_of_classes_is_for_fine_tuning_only(tmp_path):
    path = pyslowfast_checkpoint(small(seed=1), tmp_path / "a.pyth")
    target = small("MODEL.NUM_CLASSES", 7, seed=2)
    assert_refused(target, path, r"head.projection.weight \(5x256 in the file, 7x256 in the network\)", fine_tune=False)
    report = load_weights(target, path)
    assert len(report.new) == 2 and target.head.projection.weight.shape[0] == 7


def test_weights_without_a_head_are_not_tested(tmp_path):
    state = {key: value for key, value in small(seed=1).state_dict().items() if not key.startswith("head.")}
    torch.save(state, tmp_path / "a.pth")
    assert_refused(small(seed=2), tmp_path / "a.pth", "head.projection.weight", fine_tune=False)
    assert set(load_weights(small(seed=2), tmp_path / "a.pth").new) == {
        *("head.projection.weight", "head.projection.bias")
    }


def test_weights_without_the_attention_blocks_are_for_fine_tuning_only(tmp_path):
    path = pyslowfast_checkpoint(small(seed=1), tmp_path / "a.pyth")
    gta = ("ATTENTION.NAME", "GTA", "ATTENTION.LOCATION", [[[]], [[0]], [[]], [[]]])
    target = small(*gta, seed=2)
    assert_refused(target, path, r"of the network \(s3.pathway0_attention0", fine_tune=False)
    report = load_weights(target, path)
    assert report.new and all("_attention0." in name for name in report.new)


# ------------------------------------------------------------------------------------------ what is no weights file


def attacks(trace: Path) -> dict[str, object]:
    touch = f"touch {trace}"
    return {
        "os.system": Reduced(os.system, touch),
        "builtins.eval": Reduced(eval, f"__import__('os').system('{touch}')"),
        "nested": {"model_state": {"s1.w": torch.zeros(2), "deep": [Reduced(os.system, touch)]}},
        "inside a list of reduces": [Reduced(list, [Reduced(exec, f"open('{trace}', 'w')")])],
    }


@pytest.mark.parametrize("name", attacks(Path("trace")))
@pytest.mark.parametrize("form", ["torch", "old torch", "pickle"])
def test_nothing_in_a_file_runs(tmp_path, name, form):
    trace, path = tmp_path / "trace", tmp_path / "a.pyth"
    attack = attacks(trace)[name]
    if form == "pickle":
        path.write_bytes(pickle.dumps(attack))
    else:
        torch.save(attack, path, _use_new_zipfile_serialization=form == "torch")
    assert_refused(small(), path, "cannot be read.*could run code")
    assert not trace.exists()
    loads = {"torch": lambda: torch.load(path, weights_only=False), "pickle": lambda: pickle.loads(path.read_bytes())}
    if form in loads:
        loads[form]()
        assert trace.exists(), "the attack is a real one: read carelessly, it runs"


def a_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("readme.txt", "no weights")
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"These are no weights.\n", b"\x89PNG\r\n\x1a\n", a_zip()])
def test_what_is_no_torch_file_is_refused(tmp_path, content):
    (tmp_path / "a.pyth").write_bytes(content)
    assert_refused(small(), tmp_path / "a.pyth", "a.pyth cannot be read")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, part):
    path = pyslowfast_checkpoint(small(), tmp_path / "a.pyth")
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    assert_refused(small(), path, "a.pyth cannot be read.*truncated")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "contains a list, not a dictionary"),
        (torch.zeros(3), "contains a Tensor, not a dictionary"),
        ({"epoch": 3}, "contains no named tensors"),
        ({"encoder.weight": torch.zeros(3)}, "names like 'encoder.weight', which are neither PySlowFast's"),
    ],
)
def test_torch_files_of_something_else(tmp_path, content, words):
    torch.save(content, tmp_path / "a.pyth")
    assert_refused(small(), tmp_path / "a.pyth", words)


def test_a_path_that_is_not_there_or_a_folder(tmp_path):
    assert_refused(small(), tmp_path / "none.pyth", "no weights file or checkpoint at")
    assert_refused(small(), tmp_path, "no weights file or checkpoint at")
    assert_refused(small(), Path("model.pkl"), "no weights file or checkpoint at")

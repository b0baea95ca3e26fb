"""Networks as files: they answer as the network does, say what they are, and are not left behind where they do not."""

import json
import re

import numpy as np
import pytest
import torch
from block_cases import CASES, DIM, FRAMES, HEIGHT, WIDTH, block_of
from eval_networks import NETWORKS, arguments, config, write_weights
from made_videos import write_video
from miniatures import ROOT
from torch import nn

from slowfast_gta import load_config
from slowfast_gta.commands import run_command
from slowfast_gta.errors import ConfigError, RunError
from slowfast_gta.inference import export as exporting
from slowfast_gta.inference.check_clips import build_check_clips
from slowfast_gta.inference.export import OPSET, build_export, export_to_file, largest_difference, load_onnx, load_torch
from slowfast_gta.models.fold import fold_batch_norms

LEAVES = sorted(
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if not path.name.startswith("Base") and path.parent.name != "Evidence"
)
needs_onnx = pytest.mark.skipif(
    any(__import__("importlib.util").util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra 'export' is not installed",
)


def exported(cfg, folder, file_format="onnx", **options) -> tuple[dict, exporting.Export, np.ndarray]:
    """What export_to_file says, of random weights, on drawn clips."""
    weights = write_weights(cfg, folder / "w.pyth", settled=options.pop("settled", False))
    export = build_export(cfg, weights, options.pop("precision", "float32"))
    clips, _ = build_check_clips(cfg, [])
    return export_to_file(export, clips, folder / "network", file_format, **options), export, clips


@needs_onnx
@pytest.mark.parametrize("name", ["i3d", "slowfast"])  # gta: by the command, below
def test_a_family_in_onnx(name, tmp_path):
    import onnx

    found, _, clips = exported(config(name), tmp_path)
    assert found["largest_difference"] <= 1e-5 and found["num_clips"] == len(clips) == 3
    assert not list(tmp_path.glob("*.tmp"))
    assert_nothing_of_this_machine_in(tmp_path / "network")
    model = onnx.load(str(tmp_path / "network"))
    assert [entry.version for entry in model.opset_import if not entry.domain] == [OPSET]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["frames", "scores"]
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert len(json.loads(metadata["class_names"])) == 3 and json.loads(metadata["input"])["shape"][1:] == [
        *clips.shape[1:]
    ]
    answer = load_onnx(tmp_path / "network", 1)
    together = answer(clips)[0]
    assert together.dtype == np.float32 and together.sum(1) == pytest.approx(1, abs=1e-5)
    different = np.abs(together[0] - together[1]).max()
    assert different > 1e-4, "on clips that the network tells apart, or the comparison would say nothing"


def assert_nothing_of_this_machine_in(path) -> None:
    content = path.read_bytes()
    assert not re.search(rb"/\w+\.py", content) and str(ROOT).encode() not in content


class _AllBlocks(nn.Module):
    """Blocks side by side; each one's answer is an output."""

    def __init__(self, cases: list):
        super().__init__()
        self.blocks = nn.ModuleList(block_of(name, options).eval() for name, options in cases)

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = frames.float()
        return tuple(block(x) for block in self.blocks)


@needs_onnx
@pytest.mark.slow
def test_every_block_in_onnx(tmp_path):
    assert_exported([case for case in CASES if not case[1]], tmp_path)


@needs_onnx
@pytest.mark.slow
def test_every_option_of_every_block_in_onnx(tmp_path):
    assert_exported([case for case in CASES if case[1]], tmp_path)


def assert_exported(cases: list, tmp_path) -> None:
    """In one graph, for speed. New blocks are the identity: their norms are moved away from that first."""
    network = _AllBlocks(cases)
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            value.uniform_(0.5, 1.0, generator=generator) if "var" in name else value.normal_(
                0.5, 0.2, generator=generator
            )
    network = fold_batch_norms(network)  # as everything that is exported
    clips = np.random.default_rng(0).normal(size=(3, DIM, FRAMES, HEIGHT, WIDTH)).astype(np.float32)
    names = tuple(f"block{number}" for number in range(len(cases)))
    export = exporting.Export(network, network, clips.shape[1:], names, {}, "float32")
    with exporting.quiet_exporters(), torch.no_grad():
        exporting._write_onnx(export, exporting._program(export, clips, "batch"), tmp_path / "blocks.onnx")
    answer = load_onnx(tmp_path / "blocks.onnx", 1)
    for batch in (clips[:1], clips):
        for case, wanted, found in zip(cases, network(torch.from_numpy(batch)), answer(batch), strict=True):
            scale = float(wanted.abs().max())
            assert np.abs(wanted.detach().numpy() - found).max() < 1e-4 * scale, case
            assert np.abs(wanted.detach().numpy() - batch).max() > 1e-3, f"{case} does nothing"


def test_torch_export_with_a_dynamic_batch_and_without(tmp_path):
    cfg = config("r2d")
    found, export, clips = exported(cfg, tmp_path, "torch")
    assert found["largest_difference"] <= 1e-6
    assert_nothing_of_this_machine_in(tmp_path / "network")
    answer = load_torch(tmp_path / "network")
    assert [answer(np.repeat(clips, times, 0))[0].shape[0] for times in (1, 3)] == [3, 9]
    files = {"metadata.json": ""}
    with (tmp_path / "network").open("rb") as file:
        torch.export.load(file, extra_files=files)
    assert json.loads(files["metadata.json"]) == export.metadata
    fixed, _, _ = exported(cfg, tmp_path, "torch", dynamic="none")
    assert fixed["largest_difference"] <= 1e-6
    with pytest.raises(Exception, match=r"(?i)shape|guard|size"):
        load_torch(tmp_path / "network")(clips)


def test_float16_is_half_as_large_and_nearly_the_same(tmp_path):
    cfg = config("r2d")
    whole, _, _ = exported(cfg, tmp_path, "torch")
    half, _, _ = exported(cfg, tmp_path, "torch", precision="float16")
    assert half["bytes"] < 0.75 * whole["bytes"] and 1e-7 < half["largest_difference"] < half["bound"]


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("overrides", [(), ("ATTENTION.NAME", "CGNL")], ids=["GTA", "CGNL"])
def test_blocks_that_leave_float16_work_in_onnx_too(overrides, tmp_path):
    """A part of them stays in float32, since its numbers would not fit."""
    found, export, _ = exported(config("gta", *overrides), tmp_path, precision="float16")
    assert 0 < found["largest_difference"] < found["bound"]
    kinds = {value.dtype for value in export.network.model.parameters()}
    assert kinds == {torch.float16, torch.float32}, "the case in point"


def test_an_export_with_other_scores_is_removed_and_the_old_one_stays(tmp_path):
    cfg = config("r2d")
    export = build_export(cfg, write_weights(cfg, tmp_path / "w.pyth"))
    clips, _ = build_check_clips(cfg, [])
    with torch.no_grad():
        export.network.offset += 0.5  # as if normalisation had been lost on the way
    (tmp_path / "network").write_text("what was there")
    with pytest.raises(RunError, match="difference"):
        export_to_file(export, clips, tmp_path / "network", "torch")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network", "w.pyth"]
    assert (tmp_path / "network").read_text() == "what was there"


def test_the_largest_difference():
    exact = nn.Module()
    exact.forward = lambda frames: (frames.float() * 2,)
    batch = np.array([[1, 4]], np.uint8)
    assert largest_difference(exact, lambda frames: [frames * np.float32(2)], [batch]) == 0
    assert largest_difference(exact, lambda frames: [frames * np.float32(2) + np.float32(1)], [batch]) == 1 / 8
    assert largest_difference(exact, lambda frames: [frames * np.float32("nan")], [batch]) == float("inf")
    assert largest_difference(exact, lambda frames: [np.zeros((1, 3), np.float32)], [batch]) == float("inf")


def test_the_clips_that_it_is_compared_on(tmp_path, ssv2):
    cfg = config("r2d")
    drawn, source = build_check_clips(cfg, [])
    assert drawn.shape == (3, 4, 32, 32, 3) and drawn.dtype == np.uint8 and "--check" in source
    video = write_video(tmp_path / "a.mp4", 20)
    named, _ = build_check_clips(cfg, [str(video)])
    assert named.shape == (1, 4, 32, 32, 3)
    of_the_set, source = build_check_clips(config("r2d", "DATA.PATH_TO_DATA_DIR", str(ssv2)), [])
    assert of_the_set.shape == drawn.shape and "SSv2" in source and not np.array_equal(of_the_set, drawn)


@needs_onnx
def test_the_command_and_the_page_s_ten_lines(tmp_path, capsys, monkeypatch):
    cfg = config("gta")
    weights = write_weights(cfg, tmp_path / "w.pyth")
    video = write_video(tmp_path / "my_video.mp4", 33, height=48, width=64)
    words = ["--weights", weights, "--format", "onnx", "--output", tmp_path / "gta.onnx", "--check", video, "--json"]
    assert run_command("export", [*arguments("gta"), *map(str, words)]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["largest_difference"] <= results["bound"] and results["num_clips"] == 1
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.S)
    assert "slowfast" not in example and len(example.strip().splitlines()) <= 12
    names: dict = {}
    exec(example, names)
    name, score = capsys.readouterr().out.rsplit(None, 1)
    assert name == results["metadata"]["class_names"][names["scores"][0].argmax()]
    assert float(score) == pytest.approx(names["scores"][0].max()) and names["scores"].shape == (1, 3)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--format", "torch", "--output", "."), 2),
        (("--format", "torch", "--output", "x.pt2", "--check", "missing.mp4"), 1),
        (("--format", "torch", "--output", "x.pt2", "--weights", "missing.pyth"), 1),
        (("--format", "tflite", "--output", "x"), 2),
    ],
)
def test_wrong_words_are_refused(tmp_path, capsys, monkeypatch, words, code):
    monkeypatch.chdir(tmp_path)
    weights = write_weights(config("r2d"), tmp_path / "w.pyth")
    given = [*arguments("r2d"), *(() if "--weights" in words else ("--weights", str(weights))), *words]
    try:
        found = run_command("export", given)
    except SystemExit as end:  # argparse
        found = end.code
    captured = capsys.readouterr()
    assert found == code and "Traceback" not in captured.err and "error" in captured.err and not captured.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.pyth"]


def test_a_missing_package_is_refused(monkeypatch, tmp_path):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(exporting.importlib, "import_module", missing)
    with pytest.raises(RunError, match=r"\[export\]"):
        exporting.check_format("onnx", "batch", tmp_path / "x.onnx")
    for wrong in (("tf", "batch"), ("torch", "all")):
        with pytest.raises(ConfigError):
            exporting.check_format(*wrong, tmp_path / "x")
    with pytest.raises(ConfigError, match="float64"):
        build_export(config("r2d"), tmp_path / "none", "float64")


# ------------------------------------------------------------------------------------------------------- minutes long


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("path", LEAVES, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_every_yaml_in_onnx(path, tmp_path):
    """Of YAMLs that differ in classes, data and training alone, the first stands for all: they have one network."""
    cfg = _narrowed(path)
    model = {key: value for key, value in cfg.MODEL.items() if key not in ("NUM_CLASSES", "OUTPUTS", "DROPOUT_RATE")}
    parts = (cfg.RESNET, cfg.ATTENTION, cfg.NONLOCAL, cfg.TSM, cfg.SLOWFAST, cfg.DATA.NUM_FRAMES, cfg.MODEL.OUTPUTS)
    network = str((sorted(model.items()), *parts))
    if network not in _EXPORTED:
        found, _, _ = exported(cfg, tmp_path, settled=True)
        assert found["largest_difference"] <= 1e-4
        _EXPORTED.add(network)


_EXPORTED: set[str] = set()


def _narrowed(path):
    """The config at the smallest width whose channels its groups divide, of small pictures."""
    data = load_config(path, ["DATA.PATH_TO_DATA_DIR", ""]).DATA
    small = ["DATA.PATH_TO_DATA_DIR", "", "DATA.TRAIN_CROP_SIZE", min(64, data.TRAIN_CROP_SIZE)]
    small += ["DATA.TEST_CROP_SIZE", min(64, data.TEST_CROP_SIZE)]
    for width in (8, 16, 32):
        try:
            return load_config(path, [*small, "RESNET.WIDTH_PER_GROUP", width])
        except ConfigError as fault:
            assert all(key.startswith("ATTENTION.OPTIONS") for key in fault.keys), fault
    return load_config(path, small)


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SSv1/R2D50_GTA.yaml", "Kinetics/SLOWFAST_8x8_R50.yaml"])
def test_full_size_in_onnx(name, tmp_path):
    cfg = load_config(ROOT / "configs" / name, ["DATA.PATH_TO_DATA_DIR", ""])
    found, _, _ = exported(cfg, tmp_path, settled=True)
    assert found["largest_difference"] <= 1e-4


def test_the_families_that_are_tried_quickly_are_there():
    assert {"gta", "i3d", "slowfast"} <= set(NETWORKS)

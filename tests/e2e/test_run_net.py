"""tools/run_net.py as people call it, on the published layouts of Something-Something in miniature."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from miniatures import CFG, ROOT, TINY, command, keys, make_ssv1, make_ssv2, metrics, run

from slowfast_gta import load_config
from slowfast_gta.commands import run_command

QUICK = [
    *("DATA.RESIZE", "[60,80]", "DATA.TRAIN_CROP_SIZE", 56, "DATA.TEST_CROP_SIZE", 56, "TENSORBOARD.ENABLE", False),
    *("TRAIN.BATCH_SIZE", 2, "DATA_LOADER.NUM_WORKERS", 0, "SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_EPOCHS", 0),
]
MAKERS = {"SSv1": make_ssv1, "SSv2": make_ssv2}


@pytest.fixture(scope="module")
def imagenet_weights(tmp_path_factory):
    """A state dict with the names and shapes of torchvision's resnet50, random."""
    torch.manual_seed(0)
    state = {}

    def add(name: str, *shape: int) -> None:
        state[name] = torch.randn(*shape) * (2 / (shape[0] * shape[2] * shape[3])) ** 0.5

    def norm(name: str, dim: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(dim), torch.zeros(dim)
        state[f"{name}.running_mean"], state[f"{name}.running_var"] = torch.zeros(dim), torch.ones(dim)
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    add("conv1.weight", 64, 3, 7, 7)
    norm("bn1", 64)
    dim_in = 64
    for layer, (num_blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(num_blocks):
            name = f"layer{layer}.{block}"
            shapes = ((width, dim_in, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1))
            for number, shape in enumerate(shapes, start=1):
                add(f"{name}.conv{number}.weight", *shape)
                norm(f"{name}.bn{number}", shape[0])
            if block == 0:
                add(f"{name}.downsample.0.weight", 4 * width, dim_in, 1, 1)
                norm(f"{name}.downsample.1", 4 * width)
            dim_in = 4 * width
    state["fc.weight"], state["fc.bias"] = torch.randn(1000, 2048), torch.randn(1000)
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(state, path)
    return path


def train_at_full_width(name: str, weights, folder, *pairs: object):
    """One step and one test of configs/{name}/R2D50_GTA.yaml; returns (exit code, OUTPUT_DIR)."""
    data = MAKERS[name](folder / "data", num_train=2, num_val=1, num_classes=174)
    where = ("DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", folder / "run", "TRAIN.CHECKPOINT_FILE_PATH", weights)
    cfg = str(ROOT / "configs" / name / "R2D50_GTA.yaml")
    return run_command("run_net", ["--cfg", cfg, *keys(*where, *pairs)]), folder / "run"


def assert_trained_and_tested(output, printed: str) -> None:
    assert "Traceback" not in printed and "Weights from " in printed and "resnet50.pth" in printed
    assert [row["step"] for row in metrics(output) if row["kind"] == "train"] == [1]
    results = json.loads((output / "results.json").read_text())
    assert (results["num_videos"], results["final"], len(results["per_class"])) == (1, True, 174)
    with np.load(output / "scores.npz", allow_pickle=False) as scores:
        assert scores["scores"].shape == (1, 174)


@pytest.mark.parametrize("name", MAKERS)
def test_gta_of_the_paper_takes_a_step_from_imagenet_weights(name, imagenet_weights, tmp_path, capsys):
    code, output = train_at_full_width(name, imagenet_weights, tmp_path, *QUICK)
    printed = capsys.readouterr().err
    assert code == 0, printed
    assert_trained_and_tested(output, printed)
    cfg = load_config(output / "config.yaml")
    assert (cfg.MODEL.NUM_CLASSES, cfg.RESNET.DEPTH, cfg.ATTENTION.NAME) == (174, 50, "GTA")


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_gta_of_the_paper_at_full_size(name, imagenet_weights, tmp_path, capsys):
    pairs = ("TRAIN.BATCH_SIZE", 2, "SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_EPOCHS", 0, "DATA_LOADER.NUM_WORKERS", 1)
    code, output = train_at_full_width(name, imagenet_weights, tmp_path, *pairs)
    printed = capsys.readouterr().err
    assert code == 0, printed
    assert_trained_and_tested(output, printed)


# ------------------------------------------------------------------------------------------ the command line


@pytest.mark.parametrize("tool", sorted(path.stem for path in (ROOT / "tools").glob("*.py")))
def test_every_tool_has_help_from_anywhere(tool, tmp_path):
    result = run(command("--help", tool=tool), cwd=tmp_path)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert "usage:" in result.stdout and "--" in result.stdout


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from slowfast_gta.commands import run_command\n"
        "try: run_command('run_net', ['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    result = run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr


def test_the_package_as_a_command(tmp_path):
    environment = {"PYTHONPATH": str(ROOT)}
    package = [sys.executable, "-m", "slowfast_gta"]
    result = run([*package, "--help"], cwd=tmp_path, env=environment)
    assert result.returncode == 0 and "run_net" in result.stdout and "predict" in result.stdout
    result = run([*package, "trian"], cwd=tmp_path, env=environment)
    assert result.returncode == 2 and "there is no command 'trian'" in result.stderr


def test_from_another_folder_through_the_package(ssv2, tmp_path):
    """A packaged config by its name, relative data and output folders."""
    (tmp_path / "videos").symlink_to(ssv2)
    where = ("DATA.PATH_TO_DATA_DIR", "videos", "OUTPUT_DIR", "out", "SOLVER.MAX_EPOCH", 1)
    line = [sys.executable, "-m", "slowfast_gta", "run_net", "--cfg", "configs/SSv2/R2D50.yaml", "--opts"]
    result = run([*line, *keys(*TINY, *where)], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr
    assert "using the packaged" in result.stderr
    assert (tmp_path / "out" / "results.json").is_file()
    assert result.stdout == ""


def test_several_configs_run_one_after_the_other_with_and_without_opts(ssv2, tmp_path, capsys):
    for name, lr in (("a", 0.1), ("b", 0.2)):
        (tmp_path / f"{name}.yaml").write_text(
            f"_BASE_: {CFG}\nOUTPUT_DIR: {tmp_path / name}\nSOLVER: {{BASE_LR: {lr}}}\n"
        )
    files = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    pairs = keys(*TINY, "DATA.PATH_TO_DATA_DIR", ssv2, "SOLVER.MAX_EPOCH", 1)
    for words in ([*files, *pairs], [*files, "--opts", *pairs, "RNG_SEED", "5"]):
        assert run_command("run_net", ["--cfg", *words]) == 0
    assert "already complete" in capsys.readouterr().err
    for name, lr in (("a", 0.1), ("b", 0.2)):
        assert lr == load_config(tmp_path / name / "config.yaml").SOLVER.BASE_LR
        assert (tmp_path / name / "results.json").is_file()
        assert (tmp_path / name / "log.txt").read_text().count("Test: top-1") == 2


def test_output_to_a_closed_reader_is_no_traceback():
    line = f"{sys.executable} {ROOT / 'tools' / 'run_net.py'} --help | true"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in result.stderr

"""MA-LMM through the core's engine: training, checkpoints, exact resume, testing, on tiny models and video files."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ma_lmm.config import ma_lmm_config
from ma_lmm.frames import FrameTransform
from ma_lmm.loader import SampleFrames
from ma_lmm.models import InstructBlipForVideo
from ma_lmm.task import MaLmmTask, answer_losses, load_samples
from ma_lmm.tasks.samples import Sample
from ma_lmm.tiny import save_tiny, tiny_model, tiny_processor
from ma_lmm.trained import convert_authors, is_trained, load_trained, trained_state

from slowfast_gta.config.load import load_config
from slowfast_gta.datasets.synthetic.encoding import encode_video
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
from slowfast_gta.errors import ConfigError, DataError, Interrupted, RunError, WeightsError
from slowfast_gta.run import train_and_test

CLASSES = ("coffee", "tea", "milk")
CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A tiny model's folder, 7 videos of 3 classes, and their annotations as Breakfast has them; the last is broken."""
    root = tmp_path_factory.mktemp("ma_lmm")
    save_tiny(root / "model", tiny_model())
    (root / "videos").mkdir()
    generator, entries = np.random.default_rng(0), {}
    for number in range(6):
        cells = generator.integers(0, 256, (8, 4, 4, 3), np.uint8)
        frames = cells.repeat(8, axis=1).repeat(8, axis=2)
        (root / "videos" / f"v{number}.mp4").write_bytes(encode_video(frames, "h264"))
        entries[f"v{number}"] = {"class_name": CLASSES[number % 3], "class_label": number % 3, "duration": 1}
    (root / "annotations.json").write_text(json.dumps(entries))
    (root / "videos" / "broken.mp4").write_bytes(b"no video")
    entries["broken"] = {"class_name": "tea", "class_label": 1, "duration": 1}
    (root / "with_broken.json").write_text(json.dumps(entries))
    return root


@pytest.fixture
def build_cfg(data, tmp_path):
    """build_cfg(KEY, VALUE, ...) -> a frozen config of a short training in tmp_path / "run"."""

    def build(*pairs):
        file = data / "annotations.json"
        defaults = (
            *("OUTPUT_DIR", tmp_path / "run", "NUM_GPUS", 0, "LOG_PERIOD", 1, "DATA_LOADER.NUM_WORKERS", 0),
            *("TRAIN.BATCH_SIZE", 3, "TEST.BATCH_SIZE", 4, "SOLVER.MAX_EPOCH", 2, "TENSORBOARD.ENABLE", False),
            *("SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.BASE_LR", 1e-3, "DATA.ON_ERROR", "skip"),
            *("MA_LMM.MODEL_DIR", data / "model", "MA_LMM.VIDEO_DIR", data / "videos"),
            *("MA_LMM.TRAIN_ANNOTATIONS", file, "MA_LMM.TEST_ANNOTATIONS", file),
            *("MA_LMM.DTYPE", "float32", "TRAIN.MIXED_PRECISION", False, "SOLVER.WARMUP_EPOCHS", 0.0),
            *("DATA_LOADER.SAMPLE_TIMEOUT_SEC", 0.0),  # on a busy machine nothing is broken
            *("MA_LMM.NUM_FRAMES", 5, "MA_LMM.MEMORY_LENGTH", 2, "MA_LMM.NUM_BEAMS", 2, "MA_LMM.MAX_NEW_TOKENS", 3),
        )
        overrides = [str(value) for value in (*defaults, *pairs)]
        return load_config(CONFIGS / "Breakfast.yaml", overrides, ma_lmm_config())

    return build


def newest(cfg) -> dict:
    return torch.load(list_checkpoints(cfg.OUTPUT_DIR)[-1][1], weights_only=True)


def test_a_run_trains_what_is_trained_and_saves_only_that(build_cfg, data):
    cfg = build_cfg()
    output = train_and_test(cfg, build_task=MaLmmTask.from_cfg)
    content = newest(cfg)
    assert content["model_state"] and all(is_trained(name) for name in content["model_state"])
    ((name, digest),) = content["builds_on"].items()
    assert name == "model" and len(digest) == 64

    start = InstructBlipForVideo.from_pretrained(data / "model", local_files_only=True).state_dict()
    changed = {name for name, value in content["model_state"].items() if not torch.equal(value, start[name])}
    assert {
        "qformer.encoder.layer.0.attention.attention.query.weight",
        "query_tokens",
        "language_projection.weight",
        "frame_positions.weight",
        "vision_model.post_layernorm.weight",
    } <= changed
    assert content["model_state"]["frame_positions.weight"].abs().amax(1).nonzero().flatten().tolist() == [4]

    results = json.loads((output / "results.json").read_text())
    assert results["num_samples"] == 6 and results["final"] and set(results["answers"]) == {f"v{n}" for n in range(6)}
    assert 0 <= results["top1"] <= results["top5"] <= 100
    assert np.load(output / "scores.npz")["texts"].shape == (6, 2)


def test_closed_sets_are_ranked_and_the_base_may_be_bf16(build_cfg):
    half = ("MA_LMM.DTYPE", "bfloat16", "TRAIN.MIXED_PRECISION", True)
    cfg = build_cfg("MA_LMM.ANSWERS", "likelihood", "SOLVER.MAX_EPOCH", 1, *half)
    output = train_and_test(cfg, build_task=MaLmmTask.from_cfg)
    results = json.loads((output / "results.json").read_text())
    assert set(results["answers"].values()) <= set(CLASSES) and results["top5"] == 100
    assert {value.dtype for value in newest(cfg)["model_state"].values()} == {torch.float32}


class Stops(MaLmmTask):
    """Raises in the loss of its third batch."""

    calls = 0

    def loss(self, model, batch):
        type(self).calls += 1
        if type(self).calls == 3:
            raise Interrupted("in the middle")
        return super().loss(model, batch)


def test_resume_inside_an_epoch_is_exact(build_cfg, tmp_path):
    pairs = ("TRAIN.BATCH_SIZE", 2, "SOLVER.MAX_EPOCH", 1, "TRAIN.CHECKPOINT_PERIOD_STEPS", 1, "TEST.ENABLE", False)
    whole = build_cfg(*pairs, "OUTPUT_DIR", str(tmp_path / "whole"))
    train_and_test(whole, build_task=MaLmmTask.from_cfg)
    parted = build_cfg(*pairs)
    with pytest.raises(Interrupted):
        train_and_test(parted, build_task=Stops.from_cfg)
    assert newest(parted)["step"] == 2
    train_and_test(parted, build_task=MaLmmTask.from_cfg)
    a, b = newest(whole), newest(parted)
    assert all(torch.equal(a["model_state"][name], b["model_state"][name]) for name in a["model_state"])


def test_a_resume_on_another_base_is_refused(build_cfg, data, tmp_path):
    train_and_test(build_cfg("SOLVER.MAX_EPOCH", 1, "TEST.ENABLE", False), build_task=MaLmmTask.from_cfg)
    save_tiny(tmp_path / "model", tiny_model(seed=5))
    with pytest.raises(RunError, match="model"):
        train_and_test(build_cfg("MA_LMM.MODEL_DIR", str(tmp_path / "model")), build_task=MaLmmTask.from_cfg)


def test_what_cannot_be_read_is_counted(build_cfg, data):
    file = str(data / "with_broken.json")
    cfg = build_cfg("MA_LMM.TRAIN_ANNOTATIONS", file, "MA_LMM.TEST_ANNOTATIONS", file, "TRAIN.BATCH_SIZE", 7)
    output = train_and_test(cfg, build_task=MaLmmTask.from_cfg)
    results = json.loads((output / "results.json").read_text())
    assert results["num_missing"] == 1 and list(results["missing"]) == ["broken"] and not results["final"]
    assert "broken.mp4" in (output / "bad_files.txt").read_text()


def test_the_loss_does_not_depend_on_how_a_batch_is_split(build_cfg):
    cfg = build_cfg()
    task = pickle.loads(pickle.dumps(MaLmmTask.from_cfg(cfg)))
    loader, model = task.build_loader(cfg, "train"), task.build_model(cfg).eval()
    batch = next(iter(loader.epoch(0)))
    whole = float(task.loss(model, batch).total)
    parts = batch.split(2)
    assert [part.num_samples for part in parts] == [2, 1]
    assert parts[1].ids == batch.ids[2:] and not parts[1].counts
    mean = sum(float(task.loss(model, part).total) * part.num_samples for part in parts) / 3
    assert whole == pytest.approx(mean, abs=1e-5)


def test_a_batch_without_samples_takes_part_and_changes_nothing(build_cfg):
    cfg = build_cfg()
    task = MaLmmTask.from_cfg(cfg)
    loader, model = task.build_loader(cfg, "train"), task.build_model(cfg)
    losses = task.loss(model, loader.dataset.collate([]))
    losses.total.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert float(losses.total) == 0 and gradients and not any(gradient.any() for gradient in gradients)


def test_the_frozen_base_stays_in_eval_mode(build_cfg):
    cfg = build_cfg()
    model = MaLmmTask.from_cfg(cfg).build_model(cfg)
    assert model.qformer.training and not model.language_model.training and not model.vision_model.encoder.training


@pytest.mark.parametrize("language", ["llama", "t5"])
def test_answer_losses_are_the_librarys_for_one_sample(language):
    from ma_lmm.prompts import PromptBuilder

    model = tiny_model(language=language)
    builder = PromptBuilder(tiny_processor(model), 4, language == "t5")
    prompts = builder.with_answers(["what is shown"], ["a cat"], 4)
    inputs = {name: value for name, value in vars(prompts).items() if value is not None}
    output = model(pixel_values=torch.randn(1, 3, 3, 28, 28), **inputs)
    loss = answer_losses(output.logits, prompts.labels, language == "llama")
    assert torch.allclose(loss[0], output.loss, rtol=0, atol=1e-5)


# ----------------------------------------------------------------------------------------------------- wrong configs


@pytest.mark.parametrize(
    "pairs",
    [
        ("MA_LMM.TASK", "lvu_weather"),
        ("MA_LMM.NUM_FRAMES", 0),
        ("MA_LMM.MEMORY_LENGTH", 0),
        ("MA_LMM.MEMORY_UPDATE", "lifo"),
        ("MA_LMM.DTYPE", "bfloat16"),
        ("EMA.ENABLE", True),
        ("DATA.ON_ERROR", "replace"),
        ("MA_LMM.TASK", "msvd_qa", "MA_LMM.ANSWERS", "likelihood"),
        ("MA_LMM.TASK", "epic_verb"),
        ("MA_LMM.MODEL_DIR", ""),
        ("MA_LMM.TRAIN_ANNOTATIONS", ""),
        ("TRAIN.BATCH_SIZE", 7),
    ],
)
def test_wrong_configs_are_refused(build_cfg, pairs):
    with pytest.raises(ConfigError):
        cfg = build_cfg(*pairs)
        task = MaLmmTask.from_cfg(cfg)
        task.check(cfg)
        task.build_loader(cfg, "train")


def test_no_video_at_all_is_refused_before_training(build_cfg, tmp_path):
    with pytest.raises(DataError, match=r"\bno video of the annotations\b.*\(of 6\)"):
        load_samples(build_cfg("MA_LMM.VIDEO_DIR", str(tmp_path)), "train")


# --------------------------------------------------------------------------------------------------- loading frames


def test_a_sample_of_a_frame_folder_has_its_part(data, tmp_path):
    from PIL import Image

    for number in range(20):
        Image.new("RGB", (30, 20), (number * 10, 0, 0)).save(tmp_path / f"frame{number + 1:06d}.png")
    transform = FrameTransform(tiny_processor(tiny_model()).image_processor)
    sample = Sample("s", str(tmp_path), "p", ("a",), (0.5, 1.0), 10.0)
    frames = SampleFrames([sample], 3, transform, seed=0)
    assert frames[0][1][:, 0, 0, 0].tolist() == [50, 70, 90]
    assert SampleFrames([sample], 3, transform, 0, "floor")[0][1][1, 0, 0, 0] == 70
    assert set(frames[(0, 0)][1][:, 0, 0, 0].tolist()) <= {50, 60, 70, 80, 90}
    assert torch.equal(frames[(3, 0)][1], frames[(3, 0)][1])
    late = SampleFrames([Sample("s", str(tmp_path), "p", ("a",), (9.0, 10.0), 10.0)], 3, transform, 0)
    assert "no frames" in late[0][1].reason


# ------------------------------------------------------------------------------------------- the authors' checkpoints


def authors_state(model) -> dict:
    """What a checkpoint of the authors looks like, as far as their names are known."""
    state = {}
    for name, value in trained_state(model).items():
        name = name.replace("attention.attention.", "attention.self.")
        name = name.replace("qformer.embeddings.layernorm.", "Qformer.bert.embeddings.LayerNorm.")
        name = "Qformer.bert." + name.removeprefix("qformer.") if name.startswith("qformer.") else name
        name = name.replace("language_projection.", "llm_proj.").replace("frame_positions", "image_pe")
        state[name.replace("vision_model.post_layernorm.", "ln_vision.")] = value
    return state


def test_checkpoints_of_the_authors_convert(tmp_path):
    theirs, ours = tiny_model(seed=1), tiny_model(seed=2)
    torch.nn.init.normal_(theirs.frame_positions.weight)
    state = authors_state(theirs) | {"Qformer.bert.embeddings.position_ids": torch.arange(4)[None]}
    torch.save({"model": state, "epoch": 3}, tmp_path / "checkpoint_best.pth")
    (note,) = load_trained(ours, tmp_path / "checkpoint_best.pth")
    assert re.search(r"\bnot used: 1\b.*\bQformer\.bert\.embeddings\.position_ids\b", note)
    expected = trained_state(theirs)
    assert all(torch.equal(value, expected[name]) for name, value in trained_state(ours).items())
    assert convert_authors(state)[0].keys() == expected.keys()


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape", "pickle", "absent", "no table"])
def test_wrong_checkpoints_are_refused(tmp_path, fault):
    model, file = tiny_model(), tmp_path / "a.pth"
    state = authors_state(model)
    if fault == "missing":
        del state["llm_proj.weight"]
    if fault == "unknown":
        state["Qformer.bert.other"] = torch.ones(1)
    if fault == "shape":
        state["query_tokens"] = torch.ones(1, 9, 24)
    content = {"pickle": {"model": Sample("a", "b", "c", ())}, "no table": [1, 2]}.get(fault, {"model": state})
    if fault != "absent":
        torch.save(content, file)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(WeightsError, match=file.name):
        load_trained(model, file)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_loads_and_makes_a_task(path):
    cfg = load_config(path, [], ma_lmm_config())
    task = MaLmmTask.from_cfg(cfg)
    assert task.task_name == cfg.MA_LMM.TASK and task.rule.length == cfg.MA_LMM.MEMORY_LENGTH


@pytest.mark.slow
def test_two_processes_train_what_one_does(data, tmp_path):
    """By the command line. Without dropout, whose random numbers each process draws for itself, and by SGD, whose steps
    are as alike as the gradients are."""
    from slowfast_gta.distributed.launch_context import free_port

    root = Path(__file__).parents[3]
    save_tiny(tmp_path / "model", tiny_model(dropout=0.0))
    pairs = [
        *("MA_LMM.MODEL_DIR", tmp_path / "model", "MA_LMM.VIDEO_DIR", data / "videos", "MA_LMM.NUM_FRAMES", 3),
        *("SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.BASE_LR", 0.05, "SOLVER.WARMUP_EPOCHS", 0.0),
        *("MA_LMM.TRAIN_ANNOTATIONS", data / "annotations.json", "MA_LMM.TEST_ANNOTATIONS", data / "annotations.json"),
        *("NUM_GPUS", 0, "TRAIN.BATCH_SIZE", 3, "SOLVER.MAX_EPOCH", 1, "DATA_LOADER.NUM_WORKERS", 0),
        *("MA_LMM.DTYPE", "float32", "TRAIN.MIXED_PRECISION", False, "MA_LMM.MAX_NEW_TOKENS", 2),
        *("DIST_TIMEOUT_SEC", 300),
    ]
    command = [sys.executable, root / "projects/ma_lmm/run.py", "--cfg", CONFIGS / "Breakfast.yaml", *pairs]

    def launch(output, *flags):
        line = [str(item) for item in (*command, "OUTPUT_DIR", output, *flags)]
        return subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    address = ("--num_shards", 2, "--init_method", f"tcp://127.0.0.1:{free_port()}")
    runs = [launch(tmp_path / "one")]
    runs += [launch(tmp_path / "two", *address, "--shard_id", number) for number in range(2)]
    for run in runs:
        error = run.communicate(timeout=600)[1]
        assert run.returncode == 0, error
    states = [torch.load(list_checkpoints(tmp_path / name)[-1][1], weights_only=True) for name in ("one", "two")]
    one, two = (state["model_state"] for state in states)
    start = trained_state(tiny_model(dropout=0.0))
    assert max(float((one[name] - start[name]).abs().max()) for name in one) > 1e-3
    assert all(torch.allclose(one[name], two[name], rtol=0, atol=2e-5) for name in one)
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")]
    assert results[0]["num_samples"] == results[1]["num_samples"] == 6

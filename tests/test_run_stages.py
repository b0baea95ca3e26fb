"""Trainings in several parts: what a stage starts from, what learns in it, and that it resumes where it was cut off."""

from pathlib import Path

import pytest
import torch
import yaml
from miniatures import CFG, TINY

from slowfast_gta import load_config
from slowfast_gta import run as engine_stages
from slowfast_gta.config.extension import ConfigExtension
from slowfast_gta.config.stages import build_stages
from slowfast_gta.engine.teacher import Teacher
from slowfast_gta.engine.training.freezing import freeze_backbone, freeze_norms
from slowfast_gta.engine.training.optimizer import build_optimizer, set_lr
from slowfast_gta.errors import ConfigError, RunError
from slowfast_gta.models import build_model
from slowfast_gta.models.attention import ATTENTION_REGISTRY
from slowfast_gta.models.build import inserted_names
from slowfast_gta.models.weights import load_weights
from slowfast_gta.run import check_stages, train_and_test

LOCATION = [[[]], [[0]], [[0]], [[]]]
BLOCK = ["ATTENTION.NAME", "GTA", "ATTENTION.LOCATION", LOCATION, "ATTENTION.OPTIONS.GROUPS", 4]
TWO = {"backbone": {"ATTENTION": {"NAME": "none"}}, "gta": {"START_FROM": "backbone"}}
IDENTITIES = sorted(name for name, block in ATTENTION_REGISTRY if getattr(block, "identity_at_init", True))


def write(folder, stages: dict, **more) -> str:
    """A config of a tiny GTA network with STAGES: in the file, since the command line wins over every stage."""
    keys = {}
    for key, value in [*zip(TINY[::2], TINY[1::2], strict=True), *zip(BLOCK[::2], BLOCK[1::2], strict=True)]:
        node = keys
        for section in key.split(".")[:-1]:
            node = node.setdefault(section, {})
        node[key.rpartition(".")[2]] = value
    path = folder / "stages.yaml"
    path.write_text(yaml.safe_dump({"_BASE_": str(CFG), "STAGES": stages, **keys, **more}))
    return str(path)


def load(folder, stages: dict, *overrides):
    return load_config(write(folder, stages), overrides)


def tiny(*overrides):
    return build_model(load_config(CFG, [*TINY, *BLOCK, *overrides]))


def test_each_stage_has_the_files_config_and_what_differs_in_it(tmp_path):
    cfg = load(tmp_path, {**TWO, "gta": {"START_FROM": "backbone", "SOLVER": {"BASE_LR": 0.5}}}, "OUTPUT_DIR", "out")
    backbone, gta = build_stages(cfg)
    assert (backbone.name, backbone.start_from, gta.start_from) == ("backbone", "", "backbone")
    assert (backbone.cfg.ATTENTION.NAME, gta.cfg.ATTENTION.NAME) == ("none", "GTA")
    assert (backbone.cfg.SOLVER.BASE_LR, gta.cfg.SOLVER.BASE_LR) == (cfg.SOLVER.BASE_LR, 0.5)
    assert (str(Path("out/backbone").absolute()), str(Path("out/gta").absolute())) == (
        backbone.cfg.OUTPUT_DIR,
        gta.cfg.OUTPUT_DIR,
    )
    assert (backbone.cfg.TEST.ENABLE, gta.cfg.TEST.ENABLE) == (False, True)
    assert cfg.ATTENTION.NAME == "GTA", "the config itself is the last network's"


@pytest.mark.parametrize("name", IDENTITIES)
def test_at_the_first_step_of_stage_two_the_outputs_are_the_backbones(name, tmp_path):
    attention = ["ATTENTION.NAME", name, "ATTENTION.LOCATION", LOCATION]
    backbone = build_model(load_config(CFG, [*TINY]))
    torch.save({"model_state": backbone.state_dict()}, tmp_path / "backbone.pyth")
    network = build_model(load_config(CFG, [*TINY, *attention]))
    report = load_weights(network, tmp_path / "backbone.pyth")
    assert len(report.new) == len(network.state_dict()) - len(backbone.state_dict()) > 0
    clip = torch.randn(2, 3, 4, 32, 32)
    assert torch.equal(network.eval()(clip), backbone.eval()(clip))


def test_inserted_blocks_learn_faster_where_asked():
    cfg = load_config(CFG, [*TINY, *BLOCK, "SOLVER.INSERTED_LR_FACTOR", 10.0])
    network = build_model(cfg)
    optimizer = build_optimizer(cfg, network)
    set_lr(optimizer, 0.01)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.1 if "_attention" in name else 0.01), name


@pytest.mark.parametrize(
    ("which", "frozen"),
    [
        ("none", lambda name: False),
        ("partial", lambda name: "_stem." not in name),
        ("backbone", lambda name: "_attention" not in name),
        ("all", lambda name: True),
    ],
)
def test_the_keyword_selects_which_batch_norms_are_frozen(which, frozen):
    network = tiny()
    kept = set(map(id, freeze_norms(network, which)))
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            assert (id(module) in kept) == frozen(name + "."), name
            assert module.weight.requires_grad != frozen(name + "."), name


def test_a_frozen_backbone_leaves_blocks_and_head_to_learn():
    network = tiny()
    freeze_backbone(network)
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {n for n, _ in network.named_parameters() if "_attention" in n or n.startswith("head.")}
    assert inserted_names(network) == ("s3.pathway0_attention0.", "s4.pathway0_attention0.")


def test_the_teachers_loss_is_the_distance_of_features_and_teaches_only_the_student():
    student, teacher = tiny(), tiny().eval().requires_grad_(False)
    lesson = Teacher(teacher, student, weight=0.25)
    clip = torch.randn(2, 3, 4, 32, 32)
    student(clip)
    loss = lesson.loss(clip)
    apart = student.features(clip)[0] - teacher.features(clip)[0]
    wanted = 0.25 * torch.stack([frame.square().sum().sqrt() for video in apart for frame in video.unbind(1)]).mean()
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert student.s1["pathway0_stem"].conv.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({**TWO, "gta": {"START_FROM": "bacbone"}}, "bacbone, which is not an earlier stage (backbone)"),
        ({"gta": {"START_FROM": "gta"}}, "not an earlier stage (there is none)"),
        ({**TWO, "gta": {"SOLVER": {"MAX_EPOCH": 0}}}, "STAGES.gta: SOLVER.MAX_EPOCH is 0; it must be 1 or more"),
        ({**TWO, "gta": {"SOLVER": {"BASE_LRR": 1}}}, "SOLVER.BASE_LRR is not a key. Did you mean SOLVER.BASE_LR"),
        ({**TWO, "gta": {"OUTPUT_DIR": "x"}}, "OUTPUT_DIR is the same for all stages"),
        ({**TWO, "gta": {"TRAIN": {"ENABLE": False}}}, "TRAIN.ENABLE is the same for all stages"),
        (
            {**TWO, "gta": {"START_FROM": "backbone", "TRAIN": {"CHECKPOINT_FILE_PATH": "w.pyth"}}},
            "STAGES.gta: START_FROM and TRAIN.CHECKPOINT_FILE_PATH set the same key of a stage; keep only one.",
        ),
        ({**TWO, "gta": {"WEIGHTS": "none.pyth"}}, "none.pyth, which is not a file"),
        ({**TWO, "gta": {"ATTENTION": {"OPTIONS": {"GROUPS": 5}}}}, "GROUPS is 5"),
        ({**TWO, "gta": 3}, "STAGES.gta must contain keys"),
    ],
)
def test_a_stage_that_cannot_be_is_refused_when_the_config_is_read(stages, message, tmp_path):
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, stages)
    assert message in str(refused.value)


def test_a_stage_that_cannot_start_from_the_one_before_is_refused_before_anything_is_trained(tmp_path):
    cfg = load(tmp_path, {**TWO, "backbone": {"ATTENTION": {"NAME": "none"}, "RESNET": {"WIDTH_PER_GROUP": 16}}})
    with pytest.raises(
        ConfigError, match=r"STAGES\.gta: START_FROM is backbone\b.*\.conv\.weight\b.*\(8, 3, 1, 7, 7\)"
    ):
        check_stages(build_stages(cfg))


@pytest.mark.parametrize(
    ("gta", "message"),
    [
        ({"START_FROM": "FILE"}, "STAGES.gta: START_FROM: FILE does not match the network"),
        ({"START_FROM": "backbone", "TEACHER": "FILE"}, "STAGES.gta: TEACHER: FILE does not match the network"),
        ({"WEIGHTS": "FILE"}, "STAGES.gta: WEIGHTS: FILE does not match the network"),
        (
            {"START_FROM": "backbone", "TEACHER": "backbone"},
            "STAGES.gta: TEACHER is backbone, and s3.pathway0_attention0.spatial.query.weight is (16, 64, 1, 1, "
            "1) here and is missing there. Their networks must be the same.",
        ),
    ],
)
def test_files_and_teachers_that_do_not_fit_are_refused_before_anything_is_trained(gta, message, tmp_path):
    file = str(tmp_path / "half.pyth")
    state = build_model(load_config(CFG, TINY)).state_dict()
    torch.save({key: value for key, value in state.items() if not key.startswith("s5.")}, file)
    gta = {key: value.replace("FILE", file) for key, value in gta.items()}
    with pytest.raises(ConfigError) as refused:
        check_stages(build_stages(load(tmp_path, {**TWO, "gta": gta})))
    assert message.replace("FILE", file) in str(refused.value)


@pytest.fixture
def run_stages(ssv2, tmp_path):
    """run_stages(stages, KEY, VALUE, ...) trains them into tmp_path / "run"; returns that folder."""

    def run(stages: dict, *overrides):
        where = ["DATA.PATH_TO_DATA_DIR", str(ssv2), "OUTPUT_DIR", str(tmp_path / "run")]
        train_and_test(load(tmp_path, stages, *where, *overrides))
        return tmp_path / "run"

    return run


def model_state(path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["model_state"]


def test_a_run_stopped_in_stage_two_resumes_there_and_ends_the_same(run_stages, tmp_path, monkeypatch):
    stages = {**TWO, "mimic": {"START_FROM": "gta", "TEACHER": "gta"}}
    whole = run_stages(stages).rename(tmp_path / "whole")
    assert (whole / "mimic" / "results.json").exists()
    assert not (whole / "gta" / "results.json").exists(), "only the last network is tested"

    real, started = engine_stages._train_one, []

    def stop_in_stage_two(cfg, *others):
        started.append(cfg.OUTPUT_DIR)
        if len(started) == 2:
            raise RunError("the machine was needed for something else")
        return real(cfg, *others)

    monkeypatch.setattr(engine_stages, "_train_one", stop_in_stage_two)
    with pytest.raises(RunError):
        run_stages(stages)
    monkeypatch.setattr(engine_stages, "_train_one", real)
    first = tmp_path / "run" / "backbone" / "checkpoints" / "checkpoint_epoch_00002.pyth"
    before = first.stat().st_mtime_ns
    resumed = run_stages(stages)
    assert first.stat().st_mtime_ns == before, "a complete stage is not trained again"
    for stage in ("backbone", "gta", "mimic"):
        name = f"{stage}/checkpoints/checkpoint_epoch_00002.pyth"
        ours, wanted = model_state(resumed / name), model_state(whole / name)
        assert all(torch.equal(value, ours[key]) for key, value in wanted.items()), stage


def test_stages_of_a_projects_own_keys_are_trained_with_them(tmp_path, monkeypatch):
    """MARGIN's default has another type than its value: only `extra` knows which it may have."""
    extra = ConfigExtension({"MY": {"MARGIN": None}}, types={"MY.MARGIN": (float, type(None))})
    stages = {"backbone": {"ATTENTION": {"NAME": "none"}}, "gta": {"START_FROM": "backbone", "MY": {"MARGIN": 2}}}
    cfg = load_config(write(tmp_path, stages), [*TINY, *BLOCK, "OUTPUT_DIR", str(tmp_path)], extra)
    margins = []
    monkeypatch.setattr(engine_stages, "_train_one", lambda stage, *_: margins.append(stage.MY.MARGIN))
    monkeypatch.setattr(engine_stages, "list_checkpoints", lambda folder: [(None, folder)])
    train_and_test(cfg, extra=extra)
    assert margins == [None, 2.0]


def test_a_finished_backbone_replaces_its_stage(run_stages, tmp_path):
    backbone = build_model(load_config(CFG, TINY))
    torch.save({"model_state": backbone.state_dict()}, tmp_path / "zoo.pyth")
    stages = {**TWO, "gta": {"START_FROM": "backbone", "TRAIN": {"FREEZE_BACKBONE": True}}}
    run = run_stages(stages, "STAGES.backbone.WEIGHTS", str(tmp_path / "zoo.pyth"))
    assert not (run / "backbone").exists()
    ours = model_state(run / "gta" / "checkpoints" / "checkpoint_epoch_00002.pyth")
    for name, value in backbone.state_dict().items():
        assert torch.equal(ours[name], value) != name.startswith("head."), name


def test_without_training_the_last_network_is_tested(run_stages, tmp_path):
    torch.save({"model_state": tiny().state_dict()}, tmp_path / "gta.pyth")
    run = run_stages(TWO, "TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", str(tmp_path / "gta.pyth"))
    assert [path.name for path in run.iterdir()] == ["gta"] and (run / "gta" / "results.json").exists()

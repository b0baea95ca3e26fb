"""A network that answers with a verb and a noun: head, loss, accuracies, weights, files; one output stays as it is."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from epic_miniature import NOUNS, TRAIN, VAL_100, VERBS, action, make_epic, make_frames, make_video
from miniatures import ROOT, TINY, keys, metrics

from slowfast_gta import build_model, load_config, load_weights
from slowfast_gta.commands import run_command
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
from slowfast_gta.engine.evaluation.metrics import joint_topk_accuracy, topk_accuracy
from slowfast_gta.engine.evaluation.results import format_summary, scalar_metrics, summarize
from slowfast_gta.engine.evaluation.score import Scores
from slowfast_gta.engine.outputs import cross_entropy, num_correct
from slowfast_gta.errors import WeightsError
from slowfast_gta.inference.predictor import build_predictor
from slowfast_gta.models.heads import ResNetBasicHead

CFG = ROOT / "configs" / "EPIC" / "R2D50_TSM.yaml"
SMALL = [*TINY, "MODEL.NUM_CLASSES", "[3,4]", "TEST.NUM_ENSEMBLE_VIEWS", 2, "SOLVER.MAX_EPOCH", 1]
NAMES = {"verb": VERBS, "noun": NOUNS}


@pytest.fixture(scope="module")
def epic(tmp_path_factory):
    """Five actions to train on and three to test, in two videos and a folder of frames."""
    train = TRAIN + [action(n, "P01_01", 0.4 * n, 0.4 * n + 1, n % 3, n % 4) for n in (3, 4, 5)]
    val = VAL_100 + [action(n, "P02_101", 0.3 * n, 0.3 * n + 1.2, n % 3, n % 4) for n in (6, 7)]
    folder = make_epic(tmp_path_factory.mktemp("data") / "epic", 100, train, val)
    make_video(folder, "P01_01"), make_video(folder, "P01_11"), make_frames(folder, "P02_101")
    return folder


@pytest.fixture(scope="module")
def run(epic, tmp_path_factory):
    """The OUTPUT_DIR of a tiny network that was trained for an epoch and tested with 2 clips x 10 crops."""
    output = tmp_path_factory.mktemp("run")
    where = ("DATA.PATH_TO_DATA_DIR", epic, "OUTPUT_DIR", output)
    assert run_command("run_net", ["--cfg", str(CFG), *keys(*SMALL, *where)]) == 0
    return output


# ------------------------------------------------------------------------------------------ head, loss, accuracies


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_head_of_two_outputs_is_two_heads(mode):
    torch.manual_seed(0)
    pools, x = [(2, 3, 3)], [torch.randn(2, 6, 2, 5, 4)]
    both = getattr(ResNetBasicHead([6], {"verb": 3, "noun": 4}, pools), mode)()
    answers = both(x)
    assert list(answers) == ["verb", "noun"] and list(dict(both.named_parameters())) == [
        f"projection_{output}.{kind}" for output in ("verb", "noun") for kind in ("weight", "bias")
    ]
    for output, count in (("verb", 3), ("noun", 4)):
        one = getattr(ResNetBasicHead([6], count, pools), mode)()
        one.projection = getattr(both, f"projection_{output}")
        assert torch.equal(answers[output], one(x)) and answers[output].shape == (2, count)


def test_the_loss_is_the_sum_and_an_answer_is_right_when_all_its_parts_are():
    torch.manual_seed(0)
    answers = {"verb": torch.randn(5, 3), "noun": torch.randn(5, 4)}
    labels = torch.tensor([[0, 1], [2, 3], [1, 1], [0, 0], [2, 2]])
    wanted = sum(F.cross_entropy(answers[n], labels[:, i], label_smoothing=0.1) for i, n in enumerate(answers))
    assert cross_entropy(answers, labels, 0.1).item() == pytest.approx(wanted.item(), rel=1e-6)
    right = torch.stack([answers["verb"].argmax(1), answers["noun"].argmax(1)], 1)
    assert num_correct(answers, right) == 5
    right[1, 0] = (right[1, 0] + 1) % 3
    right[3, 1] = (right[3, 1] + 1) % 4
    assert num_correct(answers, right) == 3


def test_one_output_has_the_plain_loss():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    assert torch.equal(cross_entropy(logits, labels, 0.2), F.cross_entropy(logits, labels, label_smoothing=0.2))
    assert num_correct(logits, logits.argmax(1)) == 6 and num_correct(logits, (logits.argmax(1) + 1) % 3) == 0


def test_joint_accuracy_against_a_loop():
    generator = np.random.default_rng(0)
    scores = [generator.dirichlet(np.ones(k), 40) for k in (3, 4)]
    labels = np.stack([generator.integers(3, size=40), generator.integers(4, size=40)], 1)
    for k in (1, 2, 5, 12):
        hits = 0
        for row in range(40):
            table = {(i, j): scores[0][row, i] * scores[1][row, j] for i in range(3) for j in range(4)}
            best = sorted(table, key=table.get, reverse=True)[:k]
            hits += tuple(labels[row]) in best
        assert joint_topk_accuracy(scores, labels, k) == pytest.approx(100 * hits / 40)
    both = (scores[0].argmax(1) == labels[:, 0]) & (scores[1].argmax(1) == labels[:, 1])
    assert joint_topk_accuracy(scores, labels, 1) == pytest.approx(100 * both.mean())
    assert joint_topk_accuracy([scores[0]], labels[:, :1], 2) == topk_accuracy(scores[0], labels[:, 0], 2)


def test_ties_and_nan_do_not_look_right():
    flat = [np.full((1, 3), 1 / 3), np.full((1, 4), 1 / 4)]
    assert [joint_topk_accuracy(flat, np.array([[0, 0]]), k) for k in (1, 11, 12)] == [0, 0, 100]
    flat[0][:] = np.nan
    assert joint_topk_accuracy(flat, np.array([[0, 0]]), 5) == 0
    assert math.isnan(joint_topk_accuracy([np.zeros((0, 3)), np.zeros((0, 4))], np.zeros((0, 2), int), 1))


def test_a_summary_has_the_pair_and_each_output():
    verb, noun = np.eye(3)[[0, 1, 2, 0]] * 0.8 + 0.05, np.eye(4)[[0, 1, 2, 0]] * 0.8 + 0.05
    labels = np.array([[0, 0], [1, 2], [0, 2], [0, 0]])
    found = Scores(list("abcd"), np.concatenate([verb, noun], 1), labels, 20, {"e": "e.MP4: gone."})
    results = summarize(found, NAMES, [])
    assert (results["top1"], results["num_videos"], results["num_missing"], results["final"]) == (50.0, 4, 1, False)
    assert {name: values["top1"] for name, values in results["outputs"].items()} == {"verb": 75.0, "noun": 75.0}
    assert results["outputs"]["verb"]["per_class"][2] == {"name": "open", "accuracy": None, "num_videos": 0}
    assert [row["num_videos"] for row in results["outputs"]["noun"]["per_class"]] == [2, 0, 2, 0]
    summary = format_summary(results)
    assert (
        summary.startswith("NOT FINAL, 1 video missing: top-1 50.00 %")
        and "verb top-1 75.00 %, top-5 100.00 %" in summary
    )
    assert scalar_metrics(results)["noun_top1"] == 75.0 and scalar_metrics(results)["top1"] == 50.0
    json.dumps(results, allow_nan=False)


# ------------------------------------------------------------------------------------------ a whole run


def test_a_run_writes_the_scores_of_each_output(run):
    results = json.loads((run / "results.json").read_text())
    assert (results["num_videos"], results["num_views"], results["final"]) == (3, 20, True)
    with np.load(run / "scores.npz", allow_pickle=False) as scores:
        for output, names in NAMES.items():
            assert {f"label_{output}", f"scores_{output}"} <= set(scores)
            assert scores[f"class_names_{output}"].tolist() == names
        assert scores["video_id"].tolist() == ["P01_11_2", "P02_101_6", "P02_101_7"]
        assert scores["label_verb"].tolist() == [1, 0, 1] and scores["label_noun"].tolist() == [1, 2, 3]
        tables = [scores["scores_verb"], scores["scores_noun"]]
        labels = np.stack([scores["label_verb"], scores["label_noun"]], 1)
    assert [table.shape for table in tables] == [(3, 3), (3, 4)]
    for index, (name, table) in enumerate(zip(NAMES, tables, strict=True)):
        np.testing.assert_allclose(table.sum(1), 1, atol=1e-5)
        assert results["outputs"][name]["top1"] == pytest.approx(topk_accuracy(table, labels[:, index], 1), abs=1e-3)
    assert results["top1"] == pytest.approx(joint_topk_accuracy(tables, labels, 1), abs=1e-3)
    assert (run / "confusion.png").is_file()
    last = metrics(run)[-1]
    assert last["kind"] == "test" and last["verb_top1"] == results["outputs"]["verb"]["top1"]
    assert [row["kind"] for row in metrics(run)] == ["train", "val", "test"]


def test_the_scores_are_the_mean_over_clips_and_ten_crops(run, epic):
    from slowfast_gta.loading.loader import build_test_loader

    cfg = load_config(CFG, [*SMALL, "DATA.PATH_TO_DATA_DIR", epic])
    model = build_model(cfg).eval()
    load_weights(model, list_checkpoints(run)[-1][1])
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (cfg.DATA.MEAN, cfg.DATA.STD))
    with np.load(run / "scores.npz", allow_pickle=False) as stored, torch.no_grad():
        for batch in build_test_loader(cfg, "test"):
            views = batch.frames
            assert batch.label.shape == (20, 2) and len(set(batch.video_id)) == 1
            for clip in (0, 10):  # five crops, and the same mirrored
                assert torch.equal(views[clip + 5 : clip + 10], views[clip : clip + 5].flip(-1))
            answers = model((views.float() / 255 - mean) / std)
            row = stored["video_id"].tolist().index(batch.video_id[0])
            for name in NAMES:
                np.testing.assert_allclose(stored[f"scores_{name}"][row], answers[name].mean(0), atol=1e-5)


def test_the_likeliest_actions_of_a_file(run, epic):
    cfg = load_config(CFG, [*SMALL])
    weights = list_checkpoints(run)[-1][1]
    top = build_predictor(cfg, weights)(epic / "P01/videos/P01_11.MP4", k=12)
    assert len(top) == 12 and sum(row["probability"] for row in top) == pytest.approx(1, abs=1e-4)
    assert top == sorted(top, key=lambda row: -row["probability"])
    assert all(row["class"] == f"{VERBS[row['label'][0]]} {NOUNS[row['label'][1]]}" for row in top)


def test_a_classifier_of_other_outputs_starts_anew_in_training_and_is_refused_in_testing(run, tmp_path):
    weights = list_checkpoints(run)[-1][1]
    two = build_model(load_config(CFG, SMALL))
    report = load_weights(two, weights)
    assert report.new == [] and report.class_names == NAMES
    one = build_model(load_config(CFG, [*SMALL, "MODEL.NUM_CLASSES", 5]))
    report = load_weights(one, weights)
    assert sorted(report.new) == ["head.projection.bias", "head.projection.weight"] and len(report.unexpected) == 4
    torch.save({"model_state": one.state_dict()}, tmp_path / "one.pyth")
    report = load_weights(two, tmp_path / "one.pyth")
    assert len(report.new) == 4 and all(name.startswith("head.projection_") for name in report.new)
    more = build_model(load_config(CFG, [*SMALL, "MODEL.NUM_CLASSES", "[3,7]"]))
    assert load_weights(more, weights).new == [
        "head.projection_noun.weight",
        "head.projection_noun.bias",
    ]
    for network, path in ((two, tmp_path / "one.pyth"), (one, weights), (more, weights)):
        with pytest.raises(WeightsError, match=r"head.projection"):
            load_weights(network, path, fine_tune=False)


def test_a_run_continues_and_broken_videos_are_listed(run, epic, tmp_path, capsys):
    video = epic / "P01" / "videos" / "P01_11.MP4"
    content = video.read_bytes()
    pairs = (*SMALL, "TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", list_checkpoints(run)[-1][1])
    try:
        video.write_bytes(content[: len(content) // 2])
        where = ("DATA.PATH_TO_DATA_DIR", epic, "OUTPUT_DIR", tmp_path)
        assert run_command("run_net", ["--cfg", str(CFG), *keys(*pairs, *where)]) == 0
    finally:
        video.write_bytes(content)
    assert "NOT FINAL, 1 video missing" in capsys.readouterr().err
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["num_videos"], list(results["missing"])) == (2, ["P01_11_2"])

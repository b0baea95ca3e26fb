"""Run folders of strangers: what report, compare and ensemble read of them is text, or refused in a sentence."""

import json

import numpy as np
import pytest

from slowfast_gta.engine.evaluation.ensemble import load_run
from slowfast_gta.errors import UserError
from slowfast_gta.experiments.marks import load_marks
from slowfast_gta.experiments.outcomes import load_finished
from slowfast_gta.reports.confusion import draw_confusion
from slowfast_gta.reports.history import load_history
from slowfast_gta.reports.report import write_report

RESULTS = {"top1": 50.0, "num_videos": 2, "num_missing": 0, "per_class": [{"name": "x"}, {"name": "y"}]}
ARRAYS = {
    "video_id": np.array(["a", "b"]),
    "scores": np.full((2, 2), 0.5, np.float32),
    "label": np.array([0, 1]),
    "class_names": np.array(["x", "y"]),
    "reversed_pairs": np.array([[0, 1]]),
}


def write_run(folder, results=RESULTS, config="RNG_SEED: 3\n", metrics="", **changes):
    (folder / "results.json").write_text(results if isinstance(results, str) else json.dumps(results))
    (folder / "config.yaml").write_text(config)
    (folder / "metrics.jsonl").write_bytes(metrics.encode() if isinstance(metrics, str) else metrics)
    np.savez(folder / "scores.npz", **(ARRAYS | changes))
    return folder


def test_a_good_run_is_read(tmp_path):
    write_run(tmp_path)
    assert load_history(tmp_path).outputs[0].class_names == ["x", "y"]
    assert load_finished(tmp_path).seed == 3 and load_marks(tmp_path)["top1"]
    assert load_run(tmp_path).per_video.video_ids == ["a", "b"]


_BOTH = {"load_history", "load_run"}
ARRAY_CHANGES = {  # and who refuses them
    "labels that are no numbers": ({"label": np.array(["a", "b"])}, _BOTH),
    "labels that are not finite": ({"label": np.array([np.nan, np.inf])}, _BOTH),
    "labels of no class": ({"label": np.array([0, 10**9])}, _BOTH),
    "scores without an axis": ({"scores": np.float32(1)}, _BOTH),
    "names without an axis": ({"video_id": np.array("a")}, _BOTH),
    "pairs without a second": ({"reversed_pairs": np.zeros(3)}, _BOTH),
    "pairs that are not finite": ({"reversed_pairs": np.array([[np.inf, np.nan]])}, {"load_run"}),
    "pairs that are text": ({"reversed_pairs": np.array([["", ""]])}, _BOTH),
    "pairs of no class": ({"reversed_pairs": np.array([[0, 10**9]])}, set()),
    "scores backwards of one video": ({"backwards_scores": np.zeros(1, np.float32)}, set()),
    "spans of three": ({"span": np.zeros((2, 3))}, {"load_history"}),
    "spans of text": ({"span": np.array([["a", "b"]] * 2)}, {"load_history"}),
}


@pytest.mark.parametrize("name", ARRAY_CHANGES)
def test_arrays(tmp_path, name):
    """Each reads them, or says what is wrong with them: another kind of error would be a traceback."""
    changes, wanted = ARRAY_CHANGES[name]
    write_run(tmp_path, **changes)
    refused = set()
    for read in (load_history, load_run, load_marks, load_finished):
        try:
            read(tmp_path)
        except UserError as fault:
            refused.add(read.__name__)
            assert "scores.npz" in str(fault)
    assert refused == wanted


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04torn", b"\x93NUMPY", b"text"])
def test_torn_arrays(tmp_path, content):
    write_run(tmp_path)
    (tmp_path / "scores.npz").write_bytes(content)
    for read in (load_history, load_run, lambda folder: draw_confusion([folder])):
        with pytest.raises(UserError):
            read(tmp_path)
    assert load_marks(tmp_path) == {}


RESULT_CHANGES = {
    "a list of the missing": {"missing": [1, 2]},
    "a number of the missing": {"missing": 5},
    "a list of the rounding": {"rounding": [1]},
    "half of the rounding": {"rounding": {"a": {}}},
    "rounding without numbers": {
        "rounding": {"precision": [], "num_clips": {}, "largest_change": "x", "num_changed_answers": None}
    },
    "an environment that is text": {"environment": "here"},
    "outputs that are a number": {"outputs": 3},
    "classes that are a number": {"per_class": 3},
}


@pytest.mark.parametrize("name", RESULT_CHANGES)
def test_results(tmp_path, name):
    with pytest.raises(UserError, match=r"results\.json"):
        load_history(write_run(tmp_path, RESULTS | RESULT_CHANGES[name]))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"top1": ' + "9" * 5000 + "}", "[1]", '{"a":' * 100_000])
def test_json_that_cannot_be_read(tmp_path, text):
    write_run(tmp_path, text)
    for read in (load_history, load_finished, lambda folder: draw_confusion([folder])):
        with pytest.raises(UserError):
            read(tmp_path)


@pytest.mark.parametrize(
    "config",
    ["RNG_SEED: [1]", "RNG_SEED: abc", 'RNG_SEED: !!int ""', "A: &a {B: *a}", "A: " + "[" * 20_000, "- 1"],
)
def test_configs(tmp_path, config):
    with pytest.raises(UserError, match=r"config\.yaml"):
        load_finished(write_run(tmp_path, config=config))


@pytest.mark.parametrize(
    "metrics",
    [b"\xff\xfe\n", "[" * 100_000 + "\n", '{"kind": "train", "step": ' + "9" * 5000 + "}\n", "[1]\n3\nnull\n"],
)
def test_rows_that_cannot_be_read_are_left_out(tmp_path, metrics):
    assert load_history(write_run(tmp_path, metrics=metrics)).rows == []
    assert load_finished(tmp_path).validation == {}


def test_a_page_holds_what_no_file_can(tmp_path):
    """Halves of letters and numbers of 400 digits, in names, results and rows; and no tag but its own."""
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    names = np.array(["\ud800", "</script><script>alert(1)</script>"])
    number = int("9" * 400)
    results = RESULTS | {"split": "\udfff<img src=x onerror=alert(1)>", "top5": number}
    rows = [{"kind": "train", "step": 1, "epoch": number, "loss": number, "lr": []}, {"kind": "val", "top1": number}]
    write_run(tmp_path, results, metrics="".join(json.dumps(row) + "\n" for row in rows), class_names=names)
    write_report([tmp_path], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<img src=x" not in page and "\\ud800" in page

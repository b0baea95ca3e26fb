"""Ensembles: the weighted mean of the same videos, and every pair of runs that cannot be averaged refused."""

import json
import re
import zipfile

import numpy as np
import pytest
from miniatures import CLASSES

from slowfast_gta.commands import run_command
from slowfast_gta.engine.evaluation.ensemble import average, load_run
from slowfast_gta.engine.evaluation.results import result_arrays, summarize, write_results
from slowfast_gta.engine.evaluation.score import Scores

PAIRS = [(0, 2)]


def make_run(folder, seed=0, ids="abcdef", names=CLASSES, missing=(), labels=None, num_views=1, pairs=PAIRS):
    """A folder as a test leaves it; scores are random, or those of the file with the same seed."""
    generator = np.random.default_rng(seed)
    tables = names.values() if isinstance(names, dict) else [names]
    scores = np.concatenate([generator.dirichlet(np.ones(len(table)), len(ids)) for table in tables], 1)
    if labels is None:
        columns = [np.arange(len(ids)) % len(table) for table in tables]
        labels = np.stack(columns, 1) if isinstance(names, dict) else columns[0]
    found = Scores(list(ids), scores.astype(np.float32), np.array(labels), num_views, dict.fromkeys(missing, "broken"))
    folder.mkdir(exist_ok=True)
    write_results(folder, summarize(found, names, pairs), result_arrays(found, names, pairs))
    return folder


@pytest.fixture
def ensemble(tmp_path, capsys):
    """ensemble(argument, ...) -> (exit code, stdout, stderr)"""

    def call(*arguments):
        code = run_command("ensemble", [*map(str, arguments), "--output", str(tmp_path / "out")])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def test_the_mean_of_two_runs(tmp_path, ensemble):
    one, two = make_run(tmp_path / "one", 0, num_views=6), make_run(tmp_path / "two", 1, ids="fedcba", num_views=2,
                                                                    labels=[2, 1, 0, 2, 1, 0])  # fmt: skip
    code, out, err = ensemble(one, two / "scores.npz", "--weights", 1, 3)
    assert code == 0, err
    with np.load(one / "scores.npz") as a, np.load(two / "scores.npz") as b, np.load(tmp_path / "out/scores.npz") as c:
        wanted = 0.25 * a["scores"] + 0.75 * b["scores"][::-1]
        np.testing.assert_allclose(c["scores"], wanted, atol=1e-6)
        assert c["video_id"].tolist() == list("abcdef") and c["label"].tolist() == [0, 1, 2, 0, 1, 2]
        assert sorted(c) == sorted(a) and c["class_fingerprint"] == a["class_fingerprint"]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["top1"] == pytest.approx(100 * np.mean(wanted.argmax(1) == np.arange(6) % 3), abs=1e-3)
    assert results["final"] and results["num_views"] == 8 and results["pairs"]["num_videos"] == 4
    assert set(results) > set(json.loads((one / "results.json").read_text()))
    assert [run["weight"] for run in results["ensemble"]] == [1, 3]
    assert f"top-1 {results['top1']:.2f} %" in out and (tmp_path / "out" / "confusion.png").is_file()


def test_a_run_with_itself_in_another_folder_is_itself(tmp_path):
    runs = [load_run(make_run(tmp_path / name)) for name in ("one", "two", "three")]
    np.testing.assert_allclose(average(runs, [1, 2, 5]).scores, runs[0].per_video.scores, atol=1e-7)


def test_ensembles_may_be_averaged_again_and_json_is_one_document(tmp_path, ensemble):
    runs = [make_run(tmp_path / name, seed) for seed, name in enumerate(("one", "two", "three"))]
    code, out, _ = ensemble(*runs, "--json")
    assert code == 0 and json.loads(out) == json.loads((tmp_path / "out" / "results.json").read_text())
    (tmp_path / "out").rename(tmp_path / "all")
    assert ensemble(tmp_path / "all", runs[0])[0] == 0


def test_several_outputs(tmp_path, ensemble):
    names = {"verb": ["open", "close"], "noun": ["cup", "door", "tap"]}
    runs = [make_run(tmp_path / name, seed, names=names, pairs=()) for seed, name in enumerate(("one", "two"))]
    code, out, err = ensemble(*runs)
    assert code == 0, err
    one, two, both = (dict(np.load(folder / "scores.npz")) for folder in (*runs, tmp_path / "out"))
    for output in names:
        wanted = (one[f"scores_{output}"] + two[f"scores_{output}"]) / 2
        np.testing.assert_allclose(both[f"scores_{output}"], wanted, atol=1e-6)
        assert both[f"label_{output}"].tolist() == one[f"label_{output}"].tolist()
    assert "verb top-1" in out and "noun top-1" in out
    other = make_run(tmp_path / "other", 2, names=names | {"noun": ["door", "cup", "tap"]}, pairs=())
    code, _, err = ensemble(runs[0], other)
    assert code == 1 and re.search(r"\b0 of noun\b.*'cup'.*'door'", err)


def test_incomplete_runs_are_averaged_and_not_final(tmp_path, ensemble):
    one = make_run(tmp_path / "one", 0, ids="abcde", missing="f")
    two = make_run(tmp_path / "two", 1)
    code, out, _ = ensemble(two, one)
    assert code == 0 and "NOT FINAL, 1 video missing" in out and "weight 1, 1 view, 1 video missing" in out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["num_videos"], results["final"]) == (5, False)
    assert results["missing"] == {"f": f"it is missing in {one / 'scores.npz'}"}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"ids": "abcdeg"}, "only in the first: 1, only in the second: 1 (for example f)"),
        ({"ids": "abcde"}, "only in the first: 1, only in the second: 0 (for example f)"),
        ({"labels": [0, 1, 2, 0, 2, 2]}, "1 video (the first: e, 1 and 2)"),
        ({"names": [*CLASSES, "more"]}, "their classes are 3 and 4"),
        ({"names": CLASSES[::-1]}, "the same classes in another order (fingerprints"),
        ({"names": {"verb": ["a", "b"], "noun": ["c"]}, "pairs": ()}, "their classes are 3 and 2 verb, 1 noun"),
    ],
)
def test_other_tests_are_refused(tmp_path, ensemble, other, message):
    code, _, err = ensemble(make_run(tmp_path / "one"), make_run(tmp_path / "two", 1, **other))
    assert code == 1 and message in err and "cannot be averaged" in err
    assert not (tmp_path / "out").exists()


def test_scores_that_are_not_numbers_are_refused(tmp_path, ensemble):
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    change(two, scores=lambda scores: np.where(np.arange(6)[:, None] == 3, np.nan, scores))
    code, _, err = ensemble(one, two)
    assert code == 1 and f"{two / 'scores.npz'}: the scores of 1 video are non-finite (the first: d)" in err


def change(folder, **changes):
    """Rewrites arrays of a scores.npz; None leaves one out."""
    with np.load(folder / "scores.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    for name, new in changes.items():
        value = new(arrays.pop(name)) if new else arrays.pop(name)
        if new:
            arrays[name] = value
    np.savez(folder / "scores.npz", **arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_id": None}, "has no video_id: it is not the scores.npz of a test"),
        ({"label": None}, "has no label"),
        ({"video_id": lambda ids: ids[[0, 0, 1, 2, 3, 4]]}, "a video is in it twice"),
        ({"label": lambda labels: labels + 1}, "label are not all below 3"),
        ({"label": lambda labels: labels[:-1]}, "label are int64 (5,), of 6 videos"),
        ({"scores": lambda scores: scores[:, 0]}, "scores are float32 (6,)"),
        ({"label": lambda labels: labels - 1}, "label are not all below 3"),
        ({"label": lambda labels: labels.astype(float)}, "label are float64 (6,), of 6 videos"),
        ({"scores": lambda scores: scores.astype(object)}, "must be the scores.npz of a test"),
        ({"scores": lambda scores: scores.astype(int)}, "scores are int64 (6, 3), of 6 videos"),
        ({"scores": lambda scores: scores[:5]}, "scores are float32 (5, 3), of 6 videos"),
        ({"scores": lambda scores: scores[:, :0]}, "scores are float32 (6, 0), of 6 videos"),
        ({"class_names": lambda names: names[:2]}, "for 3 classes"),
        ({"class_names": lambda names: np.arange(3)}, "class_names are int64 (3,), for 3 classes"),
    ],
)
def test_what_is_no_scores_file_is_refused(tmp_path, ensemble, changes, message):
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    change(two, **changes)
    code, _, err = ensemble(one, two)
    assert code == 1 and message in err and str(two) in err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"\x80\x04K\x01."])
def test_torn_files_and_other_files(tmp_path, ensemble, content):
    one = make_run(tmp_path / "one")
    (tmp_path / "bad.npz").write_bytes(content)
    code, _, err = ensemble(one, tmp_path / "bad.npz")
    assert code == 1 and re.search(r"/bad\.npz\b.*\bscores\.npz\b", err)
    assert ensemble(one, tmp_path / "none.npz")[0] == 1


def test_a_forged_size_is_not_believed(tmp_path, ensemble):
    one, path = make_run(tmp_path / "one"), tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive:
        header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 3), }"
        archive.writestr("scores.npy", header.ljust(127) + b"\n")
        for name in ("video_id", "label"):
            archive.writestr(f"{name}.npy", header.ljust(127) + b"\n")
    code, _, err = ensemble(one, path)
    assert code == 1 and str(path) in err and "scores.npz" in err


def test_older_files_without_names_are_averaged_with_a_warning(tmp_path, ensemble):
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two", 1)
    change(two, class_names=None, class_fingerprint=None, missing=None, num_views=None, reversed_pairs=None)
    code, out, err = ensemble(two, one)
    assert code == 0, err
    assert out.count("its classes are not named") == 1
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["per_class"][0]["name"] == CLASSES[0] and "pairs" in results


def test_names_are_given_only_where_those_of_every_output_are(tmp_path):
    run = make_run(tmp_path / "run", names={"verb": ["open", "close"], "noun": ["cup", "door", "tap"]}, pairs=())
    assert load_run(run).names_are_given
    change(run, class_names_noun=None)
    assert not load_run(run).names_are_given
    assert load_run(run).class_names == {"verb": ["open", "close"], "noun": ["class 0", "class 1", "class 2"]}


def test_wrong_usage(tmp_path, ensemble):
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two", 1)
    for arguments in (
        [one],
        [one, two, "--weights", 1],
        [one, two, "--weights", 1, 0],
        [one, two, "--weights", 1, "nan"],
        [one, two, "--weights", 1, "inf"],
    ):
        assert ensemble(*arguments)[0] == 2
    (tmp_path / "link").symlink_to(one)
    for same in (one / "scores.npz", tmp_path / "link"):
        code, _, err = ensemble(one, same)
        assert code == 2 and "named twice" in err
    (tmp_path / "out").symlink_to(two)
    code, _, err = ensemble(one, two)
    assert code == 2 and "whose results would be overwritten" in err
    (tmp_path / "out").unlink()
    two.rename(tmp_path / "out")
    code, _, err = ensemble(one, tmp_path / "out")
    assert code == 2 and "whose results would be overwritten" in err

"""The classes of a classifier: a fingerprint of their order, and weights for others refused, kept or renewed."""

import json
import shutil

import numpy as np
import pytest
import torch
from miniatures import CFG, CLASSES, ROOT, TINY, keys, make_ssv1

from slowfast_gta import build_model, load_config
from slowfast_gta.class_names import difference, fingerprint, plain_class_names
from slowfast_gta.commands import run_command
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
from slowfast_gta.errors import WeightsError
from slowfast_gta.models.weights import load_weights_for


def weights_file(path, cfg, class_names=None):
    content = {"model_state": build_model(cfg).state_dict()}
    torch.save(content | ({"class_names": class_names} if class_names else {}), path)
    return path


@pytest.fixture
def other_order(ssv2, tmp_path):
    """The same data set, its labels numbered in another order."""
    folder = tmp_path / "other"
    folder.mkdir()
    for path in ssv2.iterdir():
        (folder / path.name).symlink_to(path)
    labels = folder / "something-something-v2-labels.json"
    labels.unlink()
    labels.write_text(json.dumps({name: str(2 - label) for label, name in enumerate(CLASSES)}))
    return folder


def test_fingerprints_depend_on_names_and_order():
    names = ["a", "b", "c"]
    assert fingerprint(names) == fingerprint(tuple(names)) and len(fingerprint(names)) == 12
    others = (["b", "a", "c"], ["a", "b"], ["a", "b", "d"], ["ab", "c"], {"verb": names}, {"noun": names})
    assert len({fingerprint(other) for other in (names, *others)}) == 7
    assert fingerprint({"verb": ["x"], "noun": ["y"]}) == fingerprint({"noun": ["y"], "verb": ["x"]})


def test_the_first_difference_is_named():
    assert difference(["a", "b", "c"], ["a", "b", "c"]) is None
    assert difference(["a", "b", "c"], ["a", "c", "b"]) == (
        "class 1 is 'b' in the file and 'c' in the data set, the same classes in another order"
    )
    assert difference(["a", "b"], ["a", "d"]) == "class 1 is 'b' in the file and 'd' in the data set"
    assert difference(["a", "b"], ["a", "b", "c"]) is None  # another size: the classifier is new
    assert difference(["class 0", "class 1"], ["a", "b"]) is None  # names that were not given
    assert difference(["digit 3", "digit 7"], ["digit 7", "digit 3"]) is not None
    two = {"verb": ["open", "close"], "noun": ["cup", "door"]}
    assert difference(two, two) is None
    assert difference(two, two | {"noun": ["door", "cup"]}).startswith("class 0 of noun is 'cup' in the file")


def test_names_from_a_file_are_names_or_nothing():
    for value in (None, 3, [], {}, ["a", 1], {"verb": "open"}, {"verb": []}, "abc"):
        assert plain_class_names(value) is None
    assert plain_class_names(["a"]) == ["a"] and plain_class_names({"verb": ["open"]}) == {"verb": ["open"]}


def test_a_run_writes_the_fingerprint(trained):
    content = torch.load(list_checkpoints(trained)[-1][1], weights_only=True)
    results = json.loads((trained / "results.json").read_text())
    with np.load(trained / "scores.npz", allow_pickle=False) as stored:
        written = {content["class_fingerprint"], results["class_fingerprint"], stored["class_fingerprint"].item()}
        assert stored["class_names"].tolist() == CLASSES
    assert written == {fingerprint(CLASSES)}


def test_check_weights_prints_the_fingerprint(trained, capsys):
    file = list_checkpoints(trained)[-1][1]
    assert run_command("check_weights", [str(file), "--cfg", str(trained / "config.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["class_fingerprint"] == fingerprint(CLASSES)


def test_testing_on_another_order_is_refused(run_tiny, trained, other_order):
    where = ("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", list_checkpoints(trained)[-1][1])
    code, _, err = run_tiny(*where, data=other_order)
    assert code == 1
    assert f"class 0 is '{CLASSES[0]}' in the file and '{CLASSES[2]}' in the data set, the same classes in" in err
    assert fingerprint(CLASSES) in err and "TRAIN.CHECKPOINT_OTHER_CLASSES keep" in err
    code, _, err = run_tiny(*where, "TRAIN.CHECKPOINT_OTHER_CLASSES", "renew", data=other_order)
    assert code == 1 and "class 0 is" in err and "TRAIN.CHECKPOINT_OTHER_CLASSES keep" in err, (
        "a test has no use for a new classifier"
    )
    code, _, err = run_tiny(*where, "TRAIN.CHECKPOINT_OTHER_CLASSES", "keep", data=other_order)
    assert code == 0 and "class 0 is" in err and "TRAIN.CHECKPOINT_OTHER_CLASSES keep" in err


def test_going_on_with_another_order_is_refused(run_tiny, trained, other_order, tmp_path):
    shutil.copytree(trained / "checkpoints", tmp_path / "run" / "checkpoints")
    code, _, err = run_tiny("SOLVER.MAX_EPOCH", 3, data=other_order)
    assert code == 1 and f"The newest checkpoint in {tmp_path / 'run'}: class 0 is" in err


def test_training_from_weights_for_other_classes(trained, other_order):
    path = list_checkpoints(trained)[-1][1]
    others = [CLASSES[2], CLASSES[1], CLASSES[0]]

    def load(policy, class_names=others, file=path):
        cfg = load_config(CFG, [*TINY, "TRAIN.CHECKPOINT_OTHER_CLASSES", policy])
        return load_weights_for(cfg, build_model(cfg), file, fine_tune=True, class_names=class_names)

    with pytest.raises(WeightsError, match=r"\bclass 0 is .*\bTRAIN\.CHECKPOINT_OTHER_CLASSES keep\b.*\brenew\b"):
        load("refuse")
    assert load("refuse", CLASSES).new == load("keep").new == []
    renewed = load("renew")
    assert sorted(renewed.new) == ["head.projection.bias", "head.projection.weight"]
    assert "TRAIN.CHECKPOINT_OTHER_CLASSES renew" in str(renewed)
    assert load("renew", CLASSES).new == []


def test_a_classifier_of_another_size_is_new_without_a_warning(trained, tmp_path):
    cfg = load_config(CFG, [*TINY, "MODEL.NUM_CLASSES", 5])
    foreign = weights_file(tmp_path / "foreign.pyth", load_config(CFG, TINY))
    for file in (list_checkpoints(trained)[-1][1], foreign):
        report = load_weights_for(cfg, build_model(cfg), file, fine_tune=True, class_names=list("abcde"))
        assert len(report.new) == 2 and report.notes == []


def test_files_without_names_are_loaded_with_a_warning(tmp_path):
    cfg = load_config(CFG, TINY)
    path = weights_file(tmp_path / "foreign.pyth", cfg)
    report = load_weights_for(cfg, build_model(cfg), path, fine_tune=False, class_names=CLASSES)
    assert "does not name its classes" in report.notes[0] and "classes not named" in str(report)
    named = weights_file(tmp_path / "named.pyth", cfg, CLASSES)
    assert fingerprint(CLASSES) in str(load_weights_for(cfg, build_model(cfg), named, fine_tune=False))


@pytest.mark.parametrize(("trained_on", "order", "code"), [("file", "alphabetical", 1), ("alphabetical", "file", 1)])
@pytest.mark.parametrize("same", [False, True])
def test_ssv1_in_the_other_label_order_is_refused(tmp_path, capsys, trained_on, order, code, same):
    folder = make_ssv1(tmp_path / "ssv1", num_classes=3)
    (folder / "something-something-v1-labels.csv").write_text("\n".join(reversed(CLASSES)) + "\n")
    names = {"file": CLASSES[::-1], "alphabetical": CLASSES}
    cfg_file = ROOT / "configs" / "SSv1" / "R2D50.yaml"
    path = weights_file(tmp_path / "w.pyth", load_config(cfg_file, TINY), names[trained_on])
    where = ("DATA.PATH_TO_DATA_DIR", folder, "OUTPUT_DIR", tmp_path / "run", "TRAIN.ENABLE", False)
    where += ("TEST.CHECKPOINT_FILE_PATH", path, "DATA.LABEL_ORDER", trained_on if same else order)
    assert run_command("run_net", ["--cfg", str(cfg_file), *keys(*TINY, *where)]) == (0 if same else code)
    assert ("DATA.LABEL_ORDER" in capsys.readouterr().err) is not same

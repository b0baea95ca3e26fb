"""check_data --write-clean: lists without what was found, in the data set's own format, named as such in results."""

import json
import re
from pathlib import Path

import pytest
import torch
from epic_miniature import action, make_epic, make_frames
from made_videos import write_frames, write_video
from miniatures import TINY, keys, make_ssv1, make_ssv2

from slowfast_gta import build_model, load_config
from slowfast_gta.commands import run_command
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.cleaned import copy_without_lines, read_mark
from slowfast_gta.errors import DataError


def check(tmp_path: Path, cfg: str, *words: object) -> tuple[int, dict, Path]:
    """Exit code, report, folder of the cleaned lists."""
    report, clean = tmp_path / "report.json", tmp_path / "clean"
    given = ["--cfg", cfg, "--workers", "1", "--output", report, "--write-clean", clean, "OUTPUT_DIR", tmp_path / "out"]
    code = run_command("check_data", [str(word) for word in (*given, *words)])
    return code, json.loads(report.read_text()) if report.exists() else {}, clean


def ids(cfg_file: Path) -> dict[str, list[str]]:
    cfg = load_config(cfg_file)
    return {
        split: [record.video_id for record in build_dataset(cfg, split).records(split)]
        for split in ("train", "val", "test")
    }


def is_clean(tmp_path: Path, cfg_file: Path) -> bool:
    """Whether the check finds nothing any more."""
    words = ["--cfg", cfg_file, "--workers", "1", "--output", tmp_path / "again.json"]
    return run_command("check_data", [str(word) for word in words]) == 0


def test_something_something_v2_keeps_its_json(tmp_path):
    data = make_ssv2(tmp_path / "ssv2", num_train=12, num_val=6)
    videos = data / "20bn-something-something-v2"
    (videos / "1003.webm").unlink()
    (videos / "1005.webm").write_bytes(b"no video")
    (videos / "1000.webm").write_bytes((videos / "1013.webm").read_bytes())  # trained on what is tested
    (videos / "1017.webm").write_bytes(b"")
    code, report, clean = check(tmp_path, "configs/SSv2/R2D50.yaml",
                                *keys("DATA.PATH_TO_DATA_DIR", data, "MODEL.NUM_CLASSES", 3))  # fmt: skip
    assert code == 1
    left = ids(clean / "clean.yaml")
    assert left["train"] == [str(n) for n in range(1000, 1012) if n not in (1000, 1003, 1005)]
    assert left["val"] == left["test"] == [str(n) for n in range(1012, 1017)]
    entries = json.loads((clean / "something-something-v2-train.json").read_text())
    whole = json.loads((data / "something-something-v2-train.json").read_text())
    assert entries == [entry for entry in whole if entry["id"] in left["train"]]
    mark = read_mark(clean)
    assert mark == {key: report["cleaned"][key] for key in ("from", "splits")}
    assert mark["splits"]["train"] == {"num_videos": 12, "num_left": 9, "share_left": 0.75}
    assert mark["splits"]["val"] == mark["splits"]["test"] == {"num_videos": 6, "num_left": 5, "share_left": 0.833333}
    assert is_clean(tmp_path, clean / "clean.yaml")
    assert read_mark(data) is None


def test_something_something_v1_keeps_its_csv(tmp_path):
    data = make_ssv1(tmp_path / "ssv1", num_train=6, num_val=3, num_classes=3)
    (data / "20bn-something-something-v1" / "1002" / "00002.jpg").write_bytes(b"\xff\xd8 cut off")
    words = keys("DATA.PATH_TO_DATA_DIR", data, "MODEL.NUM_CLASSES", 3)
    code, _, clean = check(tmp_path, "configs/SSv1/R2D50.yaml", *words, "--decode", "all")
    assert code == 1 and ids(clean / "clean.yaml")["train"] == ["1000", "1001", "1003", "1004", "1005"]
    lines = (data / "something-something-v1-train.csv").read_text().splitlines()
    assert (clean / "something-something-v1-train.csv").read_text().splitlines() == lines[:2] + lines[3:]


@pytest.mark.parametrize("kind", ["pyslowfast", "folders", "tsm"])
def test_kinetics_keeps_its_lists(tmp_path, kind):
    data = tmp_path / "videos"
    for name in ("a b", "c"):
        for number in range(4):
            path = data / name / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            count = 5 + number + 5 * (name == "c")  # no two are alike
            write_video(path, count) if kind != "tsm" else write_frames(path.with_suffix(""), count)
    listed = [(f"{name}/{number}", label) for label, name in enumerate(("a b", "c")) for number in range(4)]
    frames = {path: 5 + order + (order > 3) for order, (path, _) in enumerate(listed)}
    if kind == "pyslowfast":
        for split, part in (("train", listed[::2]), ("val", listed[1::4]), ("test", listed[3::4])):
            (data / f"{split}.csv").write_text("".join(f"{path}.mp4\t{label}\n" for path, label in part))
        (data / "classes.txt").write_text("a b\nc\n")
    elif kind == "tsm":
        for split, part in (("train", listed[::2]), ("val", listed[1::2])):
            (data / f"{split}_videofolder.txt").write_text(
                "".join(f"{path} {frames[path]} {label}\n" for path, label in part)
            )
        (data / "classes.txt").write_text("a b\nc\n")
    words = keys("DATA.PATH_TO_DATA_DIR", data, "MODEL.NUM_CLASSES", 2)
    before = ids_of(words)
    broken = before["train"][0]
    if kind == "tsm":
        for frame in (data / broken).iterdir():
            frame.write_bytes(b"")
    else:
        (data / broken).write_bytes(b"")
    code, _, clean = check(tmp_path, "configs/Kinetics/R2D50.yaml", *words)
    assert code == 1
    left = ids(clean / "clean.yaml")
    assert set(left["train"]) <= set(before["train"]) - {broken}
    assert left["val"] == before["val"] and left["test"] == before["test"]
    suffix = "videofolder.txt" if kind == "tsm" else "csv"
    assert sorted(path.suffix for path in clean.glob(f"*{suffix}"))


def ids_of(words: list[str]) -> dict[str, list[str]]:
    cfg = load_config("configs/Kinetics/R2D50.yaml", words)
    return {
        split: [record.video_id for record in build_dataset(cfg, split).records(split)]
        for split in ("train", "val", "test")
    }


def test_epic_keeps_its_csv(tmp_path):
    rows = [action(number, "P01_101", 0.5 * number, 0.5 * number + 1, 0, 0) for number in range(5)]
    ids = [str(row["narration_id"]) for row in rows]
    data = make_epic(tmp_path / "epic", 100, rows, [action(9, "P01_101", 4, 5, 1, 1)])
    make_frames(data, "P01_101")
    source, output = data / "EPIC_100_train.csv", tmp_path / "out"
    cfg = load_config("configs/EPIC/R2D50_TSM.yaml", keys("DATA.PATH_TO_DATA_DIR", data, "MODEL.NUM_CLASSES", "[3,4]"))
    build_dataset(cfg, "train").write_without(output, {"train": {ids[1], ids[3]}})
    lines = source.read_text().splitlines()
    assert (output / source.name).read_text().splitlines() == [lines[n] for n in (0, 1, 3, 5)]
    assert (output / "EPIC_100_verb_classes.csv").exists()


def test_egogesture_keeps_its_lists(tmp_path):
    lists = tmp_path / "labels-final-revised1" / "subject03" / "Scene1"
    lists.mkdir(parents=True)
    (lists / "Group1.csv").write_text("12,1,5\n13,6,9\n14,10,12\n")
    write_frames(tmp_path / "images" / "Subject03" / "Scene1" / "Color" / "rgb1", 12)
    cfg = load_config("configs/EgoGesture/R2D50_TSM.yaml", keys("DATA.PATH_TO_DATA_DIR", tmp_path))
    dataset = build_dataset(cfg, "train")
    gone = dataset.records("train")[1].video_id
    dataset.write_without(tmp_path / "clean", {"train": {gone}})
    found = tmp_path / "clean" / "labels-final-revised1" / "subject03" / "Scene1" / "Group1.csv"
    assert found.read_text() == "12,1,5\n14,10,12\n"


def test_nothing_is_overwritten_and_no_remaining_work_is_reported(tmp_path, capsys):
    data = make_ssv2(tmp_path / "ssv2", num_train=3, num_val=3)
    words = keys("DATA.PATH_TO_DATA_DIR", data, "MODEL.NUM_CLASSES", 3)
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "mine.txt").touch()
    code, report, clean = check(tmp_path, "configs/SSv2/R2D50.yaml", *words)
    assert (code, report) == (1, {}) and [path.name for path in clean.iterdir()] == ["mine.txt"]
    (tmp_path / "clean" / "mine.txt").unlink()
    for path in (data / "20bn-something-something-v2").iterdir():
        path.write_bytes(b"")
    code, _, clean = check(tmp_path, "configs/SSv2/R2D50.yaml", *words)
    assert code == 1 and list(clean.iterdir()) == []
    assert re.search(r"\bnothing\b.*\btrain\b.*\bval\b.*\btest\b", capsys.readouterr().err)


def test_lists_are_not_cleaned_into_their_own_folder(tmp_path, capsys):
    words = keys("DATA.PATH_TO_DATA_DIR", make_ssv2(tmp_path / "ssv2", 3, 3), "MODEL.NUM_CLASSES", 3)
    code, report, clean = check(tmp_path, "configs/SSv2/R2D50.yaml", *words)
    assert code == 0 and report
    before = {path.name: path.read_bytes() for path in clean.iterdir()}
    capsys.readouterr()
    line = ["--cfg", str(clean / "clean.yaml"), "--write-clean", str(clean), "--workers", "1"]
    assert run_command("check_data", line) == 1
    error = capsys.readouterr().err
    assert str(clean) in error and "are read from" in error and "None" not in error
    assert {path.name: path.read_bytes() for path in clean.iterdir()} == before


def test_a_mark_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "cleaned.json").write_text("[1]")
    with pytest.raises(DataError, match=r"cleaned\.json"):
        read_mark(tmp_path)


def test_all_other_lines_stay_byte_for_byte(tmp_path):
    source = tmp_path / "a.csv"
    source.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree")
    copy_without_lines(source, tmp_path / "b.csv", {2})
    assert (tmp_path / "b.csv").read_bytes() == b"\xef\xbb\xbfone\r\n\r\nthree"


def test_a_result_on_cleaned_lists_is_named_as_such(tmp_path):
    data = make_ssv2(tmp_path / "ssv2", num_train=3, num_val=3)
    (data / "20bn-something-something-v2" / "1004.webm").write_bytes(b"")
    words = keys(*TINY, "DATA.PATH_TO_DATA_DIR", data, "NUM_GPUS", 0, "TRAIN.BATCH_SIZE", 3)
    check(tmp_path, "configs/SSv2/R2D50.yaml", *words)
    config = tmp_path / "clean" / "clean.yaml"
    torch.save({"model_state": build_model(load_config(config)).state_dict()}, tmp_path / "weights.pyth")
    more = keys(
        "TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", tmp_path / "weights.pyth", "OUTPUT_DIR", tmp_path / "o"
    )
    assert run_command("run_net", ["--cfg", str(config), *more]) == 0
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    assert (results["num_videos"], results["num_missing"]) == (2, 0)
    assert results["cleaned"]["splits"]["test"] == {"num_videos": 3, "num_left": 2, "share_left": 0.666667}

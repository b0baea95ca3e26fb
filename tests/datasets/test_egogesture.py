"""EgoGesture as published, irregular names and empty lines included, down to one epoch and a test on it."""

import json
from pathlib import Path

import cv2
import pytest
from made_videos import numbered_frame
from miniatures import ROOT, TINY, keys, metrics

from slowfast_gta.commands import run_command
from slowfast_gta.datasets.egogesture import SUBJECTS, EgoGesture
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.errors import DataError

CFG = ROOT / "configs" / "EgoGesture" / "R2D50_TSM.yaml"
# As in the release: mostly subject02/Scene1/Group3.csv, and exceptions.
LISTS = {
    "subject03/Scene1/Group1.csv": "12,3,14\n83,20,31\n",
    "Subject03/Scene2/group1.csv": "1,1,9\n,,\n5,15,24\n",
    "subject04/Scene1/Group1.csv": "7,2,12\nNaN,NaN,NaN\n8.0,13.0,22.0\n9,,30\n",
    "subject04/Scene1/Group2.csv": "7,4,13\r\n8,14,30\r\n",
    "subject07/Scene1/Group1.csv": "12,3,14\n",
    "subject02/Scene1/Group1.csv": "12,3,14\n7,15,29\n\n",
}


def make_egogesture(folder: Path, num_frames: int = 32) -> Path:
    for name, text in LISTS.items():
        path = folder / "labels-final-revised1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
        subject, scene, group = (int(part.split(".")[0][-1]) for part in name.split("/"))
        frames = folder / "images" / f"Subject{subject:02d}" / f"Scene{scene}" / "Color" / f"rgb{group}"
        frames.mkdir(parents=True)
        for number in range(1, num_frames + 1):
            cv2.imwrite(str(frames / f"{number:06d}.jpg"), numbered_frame(number)[:, :, ::-1])
    (folder / "labels-final-revised1" / ".DS_Store").write_text("")
    return folder


@pytest.fixture(scope="module")
def egogesture(tmp_path_factory) -> Path:
    return make_egogesture(tmp_path_factory.mktemp("egogesture"))


def test_the_subjects_are_the_splits():
    assert [len(SUBJECTS[split]) for split in ("train", "val", "test")] == [30, 10, 10]
    assert sorted(sum(SUBJECTS.values(), ())) == list(range(1, 51))
    assert SUBJECTS["train"][:8] == (3, 4, 5, 6, 8, 10, 15, 16) and SUBJECTS["train"][-3:] == (48, 49, 50)
    assert SUBJECTS["val"] == (1, 7, 12, 13, 24, 29, 33, 34, 35, 37)
    assert SUBJECTS["test"] == (2, 9, 11, 14, 18, 19, 28, 31, 41, 47)


def test_lists_become_ranges_of_frames(egogesture, caplog):
    records = EgoGesture(egogesture).records("train")
    found = [(record.video_id, record.label, record.span) for record in records]
    assert found == [
        ("Subject03/Scene1/rgb1/line1", 11, (3, 14)),
        ("Subject03/Scene1/rgb1/line2", 82, (20, 31)),
        ("Subject03/Scene2/rgb1/line1", 0, (1, 9)),
        ("Subject03/Scene2/rgb1/line3", 4, (15, 24)),
        ("Subject04/Scene1/rgb1/line1", 6, (2, 12)),
        ("Subject04/Scene1/rgb1/line3", 7, (13, 22)),
        ("Subject04/Scene1/rgb2/line1", 6, (4, 13)),
        ("Subject04/Scene1/rgb2/line2", 7, (14, 30)),
    ]
    assert all(Path(record.path).is_dir() for record in records)
    warning = caplog.messages[-1]
    assert "EgoGesture, train: skipped 3 lines" in warning and "Scene2/group1.csv:2" in warning
    test = EgoGesture(egogesture).records("test")
    folder = str(egogesture / "images/Subject02/Scene1/Color/rgb1")
    assert test[0] == VideoRecord(folder, 11, "Subject02/Scene1/rgb1/line1", span=(3, 14)) and len(test) == 2
    assert len(EgoGesture(egogesture).records("val")) == 1


def test_nothing_is_mirrored_and_names_are_numbers_or_given(egogesture, tmp_path):
    dataset = EgoGesture(egogesture)
    assert dataset.mirror_labels() == [None] * 83
    assert (dataset.class_names()[0], dataset.class_names()[82]) == ("gesture 1", "gesture 83")
    (tmp_path / "classes.txt").write_text("\n".join(f"name {n}" for n in range(83)) + "\n")
    assert EgoGesture(tmp_path).class_names()[3] == "name 3"
    directed = ["Scroll hand towards right", "Scroll hand towards left", "Rotate fists clockwise", "Thumb left"]
    directed += ["Rotate fists counter-clockwise", "Sweep checkmark"]
    (tmp_path / "classes.txt").write_text("\n".join([*directed, *(f"name {n}" for n in range(77))]) + "\n")
    assert EgoGesture(tmp_path).mirror_labels() == [1, 0, 4, None, 2, *[None] * 78]
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"classes.txt: EgoGesture.*83.*2"):
        EgoGesture(tmp_path).class_names()


def test_frames_in_several_folders_as_downloaded(egogesture, tmp_path):
    (tmp_path / "labels-final-revised1").symlink_to(egogesture / "labels-final-revised1")
    for part, subject in (("images_320-240_1", "Subject03"), ("images_320-240_2", "Subject04")):
        (tmp_path / part).mkdir()
        (tmp_path / part / subject).symlink_to(egogesture / "images" / subject)
    paths = [record.path for record in EgoGesture(tmp_path).records("train")]
    assert all(Path(path).is_dir() for path in paths)
    assert {Path(path).relative_to(tmp_path).parts[:2] for path in paths} == {
        ("images_320-240_1", "Subject03"),
        ("images_320-240_2", "Subject04"),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,3,9", r"Group1.csv:2: the class 0 is outside 1..83"),
        ("84,3,9", r"Group1.csv:2: the class 84 is outside 1..83"),
        ("4,30,9", r"Group1.csv:2: the gesture ends at frame 9, before it begins at frame 30"),
        ("4,3", r"Group1.csv:2: a line must be 'class,first frame,last frame'"),
        ("4,x,9", r"Group1.csv:2: a line must be 'class,first frame,last frame'"),
        ("4,3.5,9", r"Group1.csv:2: a line must be 'class,first frame,last frame'"),
        ('4,3,"9\n4,10,12', r"Group1.csv:2: a quote is not closed in this line"),
        ("4,3,inf", r"Group1.csv:2: a line must be 'class,first frame,last frame'"),
    ],
)
def test_faulty_lines_are_reported_with_their_line(tmp_path, line, message):
    path = tmp_path / "labels-final-revised1" / "subject03" / "Scene1" / "Group1.csv"
    path.parent.mkdir(parents=True)
    (tmp_path / "images" / "Subject03" / "Scene1" / "Color" / "rgb1").mkdir(parents=True)
    path.write_text(f"1,2,3\n{line}\n")
    with pytest.raises(DataError, match=message):
        EgoGesture(tmp_path).records("train")


def test_faulty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"/labels-final-revised1 does not exist"):
        EgoGesture(tmp_path).records("train")
    scene = tmp_path / "labels-final-revised1" / "subject03" / "Scene1"
    scene.mkdir(parents=True)
    with pytest.raises(DataError, match=r"/images does not exist"):
        EgoGesture(tmp_path).records("train")
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"\btrain\b.*\b3, 4, 5, "):
        EgoGesture(tmp_path).records("train")
    (scene / "Group1.csv").write_text("1,2,3\n")
    with pytest.raises(DataError, match=r"/Subject03/Scene1/Color/rgb1\b"):
        EgoGesture(tmp_path).records("train")
    (scene / "group1.csv").write_text("1,2,3\n")
    with pytest.raises(DataError, match=r"group1\.csv\b.*\bGroup1\.csv\b|Group1\.csv\b.*\bgroup1\.csv\b"):
        EgoGesture(tmp_path).records("train")
    (scene / "group1.csv").rename(scene / "Group one.csv")
    with pytest.raises(DataError, match=r"one.csv:.*subject02"):
        EgoGesture(tmp_path).records("train")


def test_one_epoch_and_a_test(egogesture, tmp_path, capsys):
    where = ("DATA.PATH_TO_DATA_DIR", egogesture, "OUTPUT_DIR", tmp_path)
    pairs = keys(*TINY, "MODEL.NUM_CLASSES", 83, "SOLVER.MAX_EPOCH", 1, "SOLVER.STEPS", "[1]", *where)
    code = run_command("run_net", ["--cfg", str(CFG), *pairs])
    output = capsys.readouterr().err
    assert code == 0 and "Traceback" not in output, output
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["num_videos"], results["final"], results["repeated_frames"]) == (2, True, 0)
    assert [row["kind"] for row in metrics(tmp_path)] == ["train", "train", "val", "test"]
    code = run_command("run_net", ["--cfg", str(CFG), *pairs, "TRAIN.ENABLE", "False", "TEST.NUM_SPATIAL_CROPS", "10"])
    output = capsys.readouterr().err
    assert code == 2 and "TEST.NUM_SPATIAL_CROPS 10 has mirrored crops" in output and "Traceback" not in output

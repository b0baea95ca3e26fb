"""Class folders become lists and a config that trains on them."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest
from made_videos import write_frames, write_video
from miniatures import ROOT, TINY, keys

from slowfast_gta import load_config
from slowfast_gta.commands import run_command
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.folders import find_classes, find_videos
from slowfast_gta.errors import DataError


def make_folders(root: Path, counts: dict[str, int]) -> Path:
    """Empty files that are called like videos: who makes lists does not open them."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.mp4").touch()
    return root


def prepare(*words: object) -> int:
    return run_command("prepare_data", ["from-folders", *map(str, words)])


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_lists_of_class_folders(tmp_path, capsys):
    root = make_folders(tmp_path / "mine", {"opening": 10, "closing": 20, "empty": 0})
    (root / "opening" / "deep" / "er").mkdir(parents=True)
    (root / "opening" / "deep" / "er" / "x.MOV").touch()
    for name in ("notes.txt", "Thumbs.db", ".DS_Store"):
        (root / "closing" / name).touch()
    assert prepare(root, "--output", tmp_path / "lists") == 0
    out = capsys.readouterr().out
    assert re.search(r"\b2 classes\b.*\b25 videos\b.*\b3 for validation\b.*\b3 for testing\b.*\b10 % and 10 %", out)
    assert (
        "Folders that are not classes: 1, for example 'empty'." in out
        and "Other files, left out: 1 .db, 1 .txt." in out
    )
    assert lines(tmp_path / "lists" / "classes.txt") == ["closing", "opening"]
    train, val = lines(tmp_path / "lists" / "train.csv"), lines(tmp_path / "lists" / "val.csv")
    test = lines(tmp_path / "lists" / "test.csv")
    assert sorted(train + val + test) == sorted(
        [f"opening/{n}.mp4 1" for n in range(10)]
        + [f"closing/{n}.mp4 0" for n in range(20)]
        + ["opening/deep/er/x.MOV 1"]
    )
    assert [sum(line.endswith("1") for line in part) for part in (val, test)] == [1, 1]
    cfg = load_config(tmp_path / "lists" / "train.yaml")
    records = build_dataset(cfg, "train").records("train")
    assert Path(records[0].path).parent == root / "closing"
    assert (cfg.MODEL.NUM_CLASSES, cfg.ATTENTION.NAME, cfg.DATA.RANDOM_FLIP) == (2, "GTA", True)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "validation"), ("training", "testing")])
def test_splits_that_are_there_are_kept(tmp_path, capsys, names):
    for split in names:
        make_folders(tmp_path / "mine" / split, {"a": 3, "b": 2})
    (tmp_path / "mine" / "annotations").mkdir()
    assert prepare(tmp_path / "mine", "--output", tmp_path / "lists") == 0
    assert "the existing split folders" in (out := capsys.readouterr().out)
    assert "Folders that are not classes: 1, for example 'annotations'." in out
    expected = [f"a/{n}.mp4 0" for n in range(3)] + [f"b/{n}.mp4 1" for n in range(2)]
    for split, folder in (("train", names[0]), ("val", names[1]), ("test", names[-1])):
        assert lines(tmp_path / "lists" / f"{split}.csv") == [f"{folder}/{line}" for line in expected]


def test_a_class_may_be_called_train(tmp_path):
    assert find_classes(make_folders(tmp_path, {"train": 3, "bus": 3})).classes == ["bus", "train"]


def test_names_with_spaces_are_separated_by_a_tab(tmp_path, capsys):
    root = make_folders(tmp_path / "my videos", {"turn left": 5, "turn_right": 12})
    assert prepare(root, "--output", tmp_path / "lists") == 0
    out = capsys.readouterr().out
    assert re.search(r"\bspaces\b.*\ba tab\b", out) and re.search(r"\bdirection\b.*: 2\b.*'turn left'", out)
    cfg = load_config(tmp_path / "lists" / "train.yaml")
    assert cfg.DATA.RANDOM_FLIP is False
    records = [record for split in ("train", "val", "test") for record in build_dataset(cfg, split).records(split)]
    assert len(records) == 17 and all(Path(record.path).exists() for record in records)


def test_the_answer_as_json(tmp_path, capsys):
    root = make_folders(tmp_path / "mine", {"a": 10, "b": 10})
    assert prepare(root, "--output", tmp_path / "lists", "--val-fraction", "0.2", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["classes"], answer["train"], answer["val"]) == (["a", "b"], 14, 4)


def test_the_same_again_changes_nothing_and_other_lists_are_not_written_over(tmp_path, capsys):
    root = make_folders(tmp_path / "mine", {"a": 10, "b": 10})
    assert prepare(root, "--output", tmp_path / "lists") == prepare(root, "--output", tmp_path / "lists") == 0
    before = lines(tmp_path / "lists" / "train.csv")
    assert prepare(root, "--output", tmp_path / "lists", "--seed", 5) == 1
    assert re.search(r"\btrain\.csv\b.*\bother content\b.* --output\b.* --overwrite\b", capsys.readouterr().err)
    assert lines(tmp_path / "lists" / "train.csv") == before
    assert prepare(root, "--output", tmp_path / "lists", "--seed", 5, "--overwrite") == 0
    assert lines(tmp_path / "lists" / "train.csv") != before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, r"mine does not exist; name the folder"),
        (lambda root: root.write_text("x"), r"mine is not a folder; name the folder"),
        (
            lambda root: root.mkdir(),
            r"no class folder contains a video. It must contain one folder for",
        ),
        (lambda root: make_folders(root, {"a": 1, "b": 1}), r"the class 'a' has 1 video: too few for the 3 splits"),
        (
            lambda root: make_folders(root, {"train/a": 2, "val/b": 2}),
            r"mine/val: the class 'b' has no videos in",
        ),
        (
            lambda root: write_frames(make_folders(root, {"b": 2}) / "a", 2),
            r"mine/a contains images; each video "
            "needs its",
        ),
        (
            lambda root: make_folders(root, {"a": 3, "line\nbreak": 3}),
            r"line\\nbreak.* would be read back "
            "differently from a list",
        ),
    ],
)
def test_what_is_no_folder_of_classes_is_refused(tmp_path, capsys, make, message):
    make(tmp_path / "mine")
    assert prepare(tmp_path / "mine", "--output", tmp_path / "lists") == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(capsys.readouterr().err)
    assert not (tmp_path / "lists").exists()


def test_names_that_are_not_utf8_are_refused(tmp_path, capsys):
    root = make_folders(tmp_path / "mine", {"a": 3, "b": 3})
    Path(os.fsdecode(os.fsencode(root) + b"/a/\xff.mp4")).touch()
    assert prepare(root, "--output", tmp_path / "lists") == 1
    assert r"b'a/\xff.mp4': " in (err := capsys.readouterr().err) and "UTF-8" in err


@pytest.mark.parametrize("name", ["trail ", "trail\u00a0", "\u00a0lead", "\u200cjoined", "a\u202fb", '"quoted"'])
def test_a_class_keeps_its_name_or_is_refused(tmp_path, capsys, name):
    """Ends that a reader of lines may strip: refused where they are, the name itself where not."""
    root = make_folders(tmp_path / "mine", {name: 3, "other": 3})
    code = prepare(root, "--output", tmp_path / "lists")
    assert code == (1 if name in ("trail ", '"quoted"') else 0)
    if code:
        assert str(os.fsencode(name))[2:-1] in capsys.readouterr().err and not (tmp_path / "lists").exists()
        return
    dataset = build_dataset(load_config(tmp_path / "lists" / "train.yaml"), "train")
    assert all(Path(one.path).parent.name == dataset.class_names()[one.label] for one in dataset.records("train"))
    assert sorted(dataset.class_names()) == sorted([name, "other"])


def test_images_beside_videos_are_no_videos(tmp_path, capsys):
    """Optical flow beside frames would be in other splits than the frames; a folder of thumbnails is no video."""
    for name in "ab":
        for number in range(3):
            for kind in ("img", "flow_x", "Flow_y"):
                write_frames(tmp_path / "frames" / name / f"{number}" / kind, 1)
    assert prepare(tmp_path / "frames", "--output", tmp_path / "lists") == 0
    assert "6 Flow_y/, 6 flow_x/" in capsys.readouterr().out
    listed = [line for split in ("train", "val", "test") for line in lines(tmp_path / "lists" / f"{split}.csv")]
    assert sorted(listed) == [f"{name}/{n}/img {label}" for label, name in enumerate("ab") for n in range(3)]
    root = make_folders(tmp_path / "files", {"a": 3, "b": 3})
    write_frames(root / "a" / "thumbs", 2)
    write_frames(root / "b" / "holiday", 2)
    assert prepare(root, "--output", tmp_path / "more", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["train"] + answer["val"] + answer["test"] == 7
    assert any("1 thumbs/" in note for note in answer["notes"])
    assert any("1 folder of images" in note and "'b/holiday'" in note for note in answer["notes"])


def test_class_folders_for_testing_alone_are_no_classes(tmp_path, capsys):
    for split in ("val", "test"):
        make_folders(tmp_path / "mine" / split, {"a": 3, "b": 3})
    assert prepare(tmp_path / "mine", "--output", tmp_path / "lists") == 1
    assert re.search(r"\bval and test\b.*\bno train\b", capsys.readouterr().err)
    assert find_classes(make_folders(tmp_path / "courts", {"test": 3, "val": 3})).classes == ["test", "val"]


def test_classes_with_colours_keep_their_channels_in_order(tmp_path, capsys):
    root = make_folders(tmp_path / "mine", {"red light": 3, "GreenLight": 3, "bored": 3})
    for machine, expected in (("cpu", 0.0), ("gpu", 0.0)):
        assert prepare(root, "--output", tmp_path / machine, "--for", machine) == 0
        assert ("Classes with a colour in their name: 2," in capsys.readouterr().out) == (machine == "cpu")
        assert expected == load_config(tmp_path / machine / "train.yaml").DATA.CHANNEL_PERMUTE_PROB
    plain = make_folders(tmp_path / "plain", {"bored": 3, "reddish": 3})
    assert prepare(plain, "--output", tmp_path / "cpu", "--for", "cpu", "--overwrite") == 0
    assert load_config(tmp_path / "cpu" / "train.yaml").DATA.CHANNEL_PERMUTE_PROB == 1.0


@pytest.mark.parametrize("fraction", ["0", "1", "-0.1", "nan"])
def test_a_fraction_is_between_0_and_1(tmp_path, capsys, fraction):
    root = make_folders(tmp_path / "mine", {"a": 2})
    assert prepare(root, f"--val-fraction={fraction}", "--output", tmp_path / "lists") == 2
    assert re.search(r"--val-fraction\b.*\bmore than 0\b.*\bless than 1\b", capsys.readouterr().err)


def test_a_loop_of_links_ends_and_links_are_followed(tmp_path):
    root = make_folders(tmp_path / "mine", {"a": 2})
    (root / "a" / "back").symlink_to(root)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.mp4").touch()
    (root / "b").symlink_to(tmp_path / "elsewhere")
    assert [len(find_videos(root / name).videos) for name in "b"] == [1]
    assert find_videos(root).videos[0] == "a/0.mp4"
    with pytest.raises(DataError, match=f"{tmp_path / 'nowhere'}: .*cannot be read"):
        find_videos(tmp_path / "nowhere")


@pytest.mark.parametrize("frames", [False, True])
def test_from_a_folder_of_videos_to_a_tested_network(tmp_path, monkeypatch, frames):
    """Also with the same file names in both classes, and of frames."""
    monkeypatch.chdir(tmp_path)
    for name in ("opening", "closing"):
        for number in range(3):
            path = tmp_path / "my_videos" / name / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_frames(path.with_suffix(""), 10) if frames else write_video(path, 10)
    assert prepare("my_videos") == 0
    tiny = [item for item in TINY if item is not None]
    tiny = keys(
        *tiny, "MODEL.NUM_CLASSES", 2, "NUM_GPUS", 0, "DATA.RESIZE", "[]", "DATA.TRAIN_JITTER_SCALES", "[32,36]"
    )
    small = ["SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0.0", "TRAIN.BATCH_SIZE", "2", "RESNET.DEPTH", "14"]
    location = ["ATTENTION.LOCATION", "[[[]],[[0]],[[]],[[]]]", "ATTENTION.OPTIONS.GROUPS", "2"]
    assert run_command("run_net", ["--cfg", "lists/my_videos/train.yaml", *tiny, *small, *location]) == 0
    results = json.loads(Path("runs/my_videos/results.json").read_text())
    assert (results["num_videos"], results["final"]) == (2, True)


def test_the_commands_of_the_page_do_what_they_say(tmp_path, monkeypatch, capsys):
    """docs/your-own-videos.md, line for line; the network is made small, and the checkpoint's number with it."""
    monkeypatch.chdir(tmp_path)
    for label, name in enumerate(("opening", "closing")):
        (tmp_path / "my_videos" / name).mkdir(parents=True)
        for number in range(4):  # no two are alike: check_data would say so
            write_video(tmp_path / "my_videos" / name / f"{number}.mp4", 10 + 4 * label + number)
    write_video(tmp_path / "new_video.mp4", 10)
    text = (ROOT / "docs" / "your-own-videos.md").read_text()
    commands = [shlex.split(line)[1:] for line in re.findall(r"^ *(python tools/.*)$", text, re.M)]
    names = [Path(words[0]).stem for words in commands]
    assert names[:4] == ["prepare_data", "check_data", "run_net", "predict"]
    small = keys(*TINY, "MODEL.NUM_CLASSES", 2, "DATA.RESIZE", "[]", "DATA.TRAIN_JITTER_SCALES", "[32,36]")
    small += keys("SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_EPOCHS", 0.0, "TRAIN.BATCH_SIZE", 2)
    small += keys("ATTENTION.LOCATION", "[[[]],[[0]],[[]],[[]]]", "ATTENTION.OPTIONS.GROUPS", 2)
    for (_, *words), name in zip(commands, names, strict=True):
        if "/data/" in " ".join(words) or "made_up" in " ".join(words):
            continue  # the data sets of others are not here; tests/e2e/own_videos.py gives the others as they are
        words = [word.replace("epoch_00030", "epoch_00001") for word in words]
        if name == "run_net" and words[-1].endswith("train.yaml"):
            words += small
        assert run_command(name, words) == 0, (name, words, capsys.readouterr().err)
    out = capsys.readouterr().out
    assert re.search(r"\bmy_videos: 2 classes; 4 videos\b.*\b2 for validation\b.*\b2 for testing\b", out)
    assert "opening" in out.rpartition("new_video.mp4")[2] and "%" in out
    assert (tmp_path / "my_frames" / "opening" / "0" / "00001.jpg").is_file()
    assert (tmp_path / "lists" / "my_frames" / "train.yaml").is_file()

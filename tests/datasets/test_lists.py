"""Lists as PySlowFast, mmaction2, TSM and GloRe write them, and the published ones of Kinetics, line for line."""

import json
import re
from pathlib import Path

import pytest
from made_videos import number_of, write_frames, write_video

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.kinetics import Kinetics
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.datasets.something import SSv1, SSv2
from slowfast_gta.errors import DataError
from slowfast_gta.video.readers import open_video

NAMES = ["Closing something", "Approaching something with your camera", "Opening something"]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_json_lists(folder: Path, newer: bool = False) -> Path:
    entries = [{"id": str(n + 7), "template": NAMES[n % 3].replace("something", "[something]")} for n in range(4)]
    content = {"labels": {name: str(n) for n, name in enumerate(NAMES)}, "train": entries[:3]}
    content |= {"validation": entries[3:], "test": [{"id": "90"}]}
    for word, what in content.items():
        write(folder / (f"labels/{word}.json" if newer else f"something-something-v2-{word}.json"), json.dumps(what))
    return folder


def pairs(records: list[VideoRecord]) -> list[tuple]:
    return [(record.path, record.label, record.num_frames, record.span) for record in records]


# ------------------------------------------------------------------------------------- Kinetics: path and label


@pytest.mark.parametrize("separator", [" ", ",", "\t", ", ", "   "])
def test_the_separator_is_found(tmp_path, separator):
    lines = [("a/b c.mp4", "3"), ("/abs/d, e.mp4", "0"), ("f.mp4", "120", "1"), ("tango 2 3.mp4", "2")]
    write(tmp_path / "train.csv", "\n".join(separator.join(line) for line in lines))
    assert pairs(Kinetics(tmp_path, num_classes=4).records("train")) == [
        (str(tmp_path / "a/b c.mp4"), 3, None, None),
        ("/abs/d, e.mp4", 0, None, None),
        (str(tmp_path / "f.mp4"), 1, 120, None),
        (str(tmp_path / "tango 2 3.mp4"), 2, None, None),
    ]


def test_a_separator_that_is_named_is_the_only_one(tmp_path):
    write(tmp_path / "train.csv", "a,1 b.mp4 1\n")
    assert Kinetics(tmp_path, separator=" ").records("train")[0].video_id == "a,1 b.mp4"
    with pytest.raises(DataError, match=r"train.csv:1:.*'path,label'.*','"):
        Kinetics(tmp_path, separator=",").records("train")


def test_a_path_may_hold_the_name_of_a_column(tmp_path):
    write(tmp_path / "train.csv", "a/youtube_id_1.mp4 1\noriginal_vido_id.mp4 0\n")
    assert len(Kinetics(tmp_path, num_classes=2).records("train")) == 2


@pytest.mark.parametrize("label", ["--1", "1" * 5000, "1.0", "one", "²"])
@pytest.mark.parametrize("separator", ["auto", " "])
def test_labels_that_are_no_numbers(tmp_path, label, separator):
    write(tmp_path / "train.csv", f"a.mp4 {label}\n")
    with pytest.raises(DataError, match=r"train\.csv:1: .*'path label'"):
        Kinetics(tmp_path, separator=separator).records("train")
    write(tmp_path / "train_videofolder.txt", f"a 10 {label}\n")
    with pytest.raises(DataError, match=r"folder.txt:1:.*num_frames"):
        Kinetics(tmp_path, list_format="tsm").records("train")


def test_what_was_chosen_is_logged(tmp_path, caplog):
    caplog.set_level("INFO")
    write(tmp_path / "train.csv", "a.mp4 1\nb.mp4 0\n")
    Kinetics(tmp_path, num_classes=2).records("train")
    assert caplog.messages == [f"Kinetics: train: 2 videos of 2 classes, {tmp_path / 'train.csv'} (pyslowfast)."]


# ------------------------------------------------------------------------------------- Kinetics: as published


def make_official(folder: Path, extra: str = "") -> Path:
    head = f"label,youtube_id,time_start,time_end,split{extra and ',is_cc'}\n"
    write(folder / "train.csv", f'{head}zumba,abc,10,20,train{extra}\n"chopping, wood",-_x9,5,15,train{extra}\n')
    write(folder / "validate.csv", f"{head}zumba,q_1,83,93,validate{extra}\n")
    write(folder / "test.csv", "youtube_id,time_start,time_end,split\nzz,1,11,test\n")
    return folder


@pytest.mark.parametrize("inside", ["", "train/", "chopping_wood/", "k400/train/any/", "train/chopping, wood/"])
@pytest.mark.parametrize("extra", ["", ",0"])
def test_the_published_csv_finds_its_videos_in_folders_of_any_kind(tmp_path, caplog, inside, extra):
    caplog.set_level("INFO")
    lists = make_official(tmp_path / "lists", extra)
    there = write(tmp_path / "videos" / inside / "-_x9_000005_000015.mp4", "")
    dataset = Kinetics(lists, tmp_path / "videos")
    assert dataset.class_names() == ["chopping, wood", "zumba"]
    assert [(record.path, record.label) for record in dataset.records("train")] == [
        (str(tmp_path / "videos" / "abc_000010_000020.mp4"), 1),  # not there: reading it will say so
        (str(there), 0),
    ]
    assert "Kinetics: 1 video of" in caplog.text and "abc_000010_000020 ..." in caplog.text
    write(tmp_path / "videos" / "q_1_000083_000093.mkv", "")
    for split in ("val", "test"):
        assert Path(dataset.records(split)[0].path).name == "q_1_000083_000093.mkv"
    assert "testing on the validation list" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("zumba,abc,ten,20,train", r"train.csv:2: time_start and time_end must be seconds"),
        ("zumba,abc,inf,20,train", r"train.csv:2: time_start and time_end must be seconds"),
        ("zumba,abc", r"train.csv:2: the line has fewer fields than the header"),
        (
            'zumba,"abc,0,10,train\nzumba,abd,0,10,train\nzumba,"abe,0,10,train',
            r"train.csv:2: a quote is not closed in this line",
        ),
        ('"zumba' + ",abc,0,10,train\n" * 9000, r"train.csv:2: this is not a line of CSV .*limit"),
    ],
)
def test_faults_of_the_published_csv(tmp_path, line, message):
    write(tmp_path / "train.csv", f"label,youtube_id,time_start,time_end,split\n{line}\n")
    with pytest.raises(DataError, match=message):
        Kinetics(tmp_path).records("train")


def test_a_published_csv_without_videos_or_columns_is_refused(tmp_path):
    make_official(tmp_path)
    with pytest.raises(DataError, match=r"train\.csv\b.*\babc_000010_000020\.mp4\b"):
        Kinetics(tmp_path).records("train")
    write(tmp_path / "train.csv", "youtube_id,time_start\nabc,10\n")
    with pytest.raises(DataError, match=r"train.csv:1:.*time_end"):
        Kinetics(tmp_path).records("train")
    write(tmp_path / "val.csv", "a.mp4 0\n")
    with pytest.raises(DataError, match=r"val\.csv \(pyslowfast\), train\.csv \(official\).*\bDATA\.LIST_FORMAT\b"):
        Kinetics(tmp_path).records("train")


# ------------------------------------------------------------------------------------- the lists of others

FOREIGN = {
    "kinetics400_train_list_videos.txt": ("mmaction2", "air drumming/a 1.mp4 1\nb.mp4 0\n"),
    "kinetics400_train_list_rawframes.txt": ("mmaction2", "air drumming/a 300 1\nb 12 0\n"),
    "train_videofolder.txt": ("tsm", "air drumming/a 300 1\nb 12 0\n"),
    "kinetics_train_avi.txt": ("glore", "0\t1\tair drumming/a.avi\n7 0 b.avi\n"),
}
FOUND = {
    "kinetics400_train_list_videos.txt": [("air drumming/a 1.mp4", 1, None), ("b.mp4", 0, None)],
    "kinetics400_train_list_rawframes.txt": [("air drumming/a", 1, 300), ("b", 0, 12)],
    "train_videofolder.txt": [("air drumming/a", 1, 300), ("b", 0, 12)],
    "kinetics_train_avi.txt": [("air drumming/a.avi", 1, None), ("b.avi", 0, None)],
}


@pytest.mark.parametrize("name", FOREIGN)
def test_lists_of_other_codebases(tmp_path, name):
    chosen, text = FOREIGN[name]
    write(tmp_path / name, text)
    write(tmp_path / name.replace("train", "val"), text)
    dataset = Kinetics(tmp_path, "/videos", num_classes=2, list_format=chosen)
    assert pairs(dataset.records("train")) == [(f"/videos/{path}", *rest, None) for path, *rest in FOUND[name]]
    assert dataset.records("test") == dataset.records("val")
    assert Kinetics(tmp_path, "/videos", num_classes=2).records("train") == dataset.records("train")
    write(tmp_path / name, text + "x\n")
    with pytest.raises(DataError, match=rf"{name}:3: .*'x'"):
        dataset.records("train")


def test_offsets_of_mmaction2_are_parts_of_a_folder(tmp_path):
    write_frames(tmp_path / "day", 30)
    write(tmp_path / "my_train_list_rawframes.txt", "day 0 10 1\nday 10 20 0\n")
    first, record = Kinetics(tmp_path, num_classes=2).records("train")
    assert (first.video_id, first.span) == ("day:0", (1, 10))
    assert (record.video_id, record.num_frames, record.span) == ("day:10", 20, (11, 30))
    assert record.path == first.path == str(tmp_path / "day")
    with open_video(record.path, record.span) as video:
        assert [number_of(frame) for frame in video.read([0, 19])] == [10, 29]


def test_several_labels_are_refused(tmp_path):
    write(tmp_path / "x_train_list_videos.txt", "a.mp4 1 2\n")
    with pytest.raises(DataError, match=r"x_train_list_videos\.txt:1: 'a\.mp4 1 2'"):
        Kinetics(tmp_path).records("train")


def test_two_formats_in_one_folder_must_be_named_explicitly(tmp_path):
    write(tmp_path / "train.csv", "a.mp4 1\n")
    write(tmp_path / "train_videofolder.txt", "a 10 0\n")
    with pytest.raises(DataError, match=r"train.csv.*train_videofolder.txt.*DATA.LIST_FORMAT"):
        Kinetics(tmp_path).records("train")
    assert Kinetics(tmp_path, list_format="tsm").records("train")[0].label == 0
    write(tmp_path / "a_train_list_videos.txt", "a.mp4 1\n")
    write(tmp_path / "a_train_list_rawframes.txt", "a 10 1\n")
    with pytest.raises(DataError, match=r"2.*a_train_list_videos.txt, a_train_list_raw"):
        Kinetics(tmp_path, list_format="mmaction2").records("train")
    with pytest.raises(DataError, match=r"\bkinetics_train_avi\.txt\b.*\btrain\b.*\(glore\)"):
        Kinetics(tmp_path, list_format="glore").records("train")
    with pytest.raises(DataError, match=r"LIST_FORMAT.*mmaction2"):
        SSv1(tmp_path, list_format="glore").records("train")


def test_a_list_of_another_kind_under_the_same_name(tmp_path):
    make_frame_lists(tmp_path, {"7": range(1, 3)})
    with pytest.raises(DataError, match=r"train\.csv: its first line .*\bpyslowfast\b"):
        Kinetics(tmp_path).records("train")
    write(tmp_path / "train.csv", "a.mp4 1\n")
    with pytest.raises(DataError, match=r"train\.csv: its first line .*\bofficial\b"):
        Kinetics(tmp_path, list_format="official").records("train")


def test_names_of_classes_beside_foreign_lists(tmp_path):
    write(tmp_path / "train_videofolder.txt", "a 10 0\n")
    write(tmp_path / "kinetics_label_map.txt", "abseiling\nzumba\n")
    assert Kinetics(tmp_path).class_names() == ["abseiling", "zumba"]


# ------------------------------------------------------------------------------------- class folders


@pytest.mark.parametrize("splits", [("train/", "val/"), ("", "")])
def test_class_folders_are_a_data_set(tmp_path, caplog, splits):
    caplog.set_level("INFO")
    for name in ("zumba", "air drumming"):
        for n in range(10):
            write(tmp_path / splits[n == 0] / name / f"{n}.mp4", "")
    dataset = Kinetics(tmp_path)
    assert dataset.class_names() == ["air drumming", "zumba"]
    train, val, test = (dataset.records(split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == ((18, 2, 2) if splits[0] else (16, 2, 2))
    assert (test == val) == (splits[0] != "")
    assert {record.video_id for record in train}.isdisjoint(record.video_id for record in val)
    assert all(("zumba" in record.path) == record.label for record in train)
    assert ("a tenth of each class" in caplog.text) == (splits[0] == "")


# ------------------------------------------------------------------------------------- Something-Something


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("suffix", [".webm", ".mp4", ""])
def test_ssv2_as_files_or_as_frames(tmp_path, suffix, newer):
    write_json_lists(tmp_path, newer)
    videos = tmp_path / "20bn-something-something-v2"
    videos.mkdir()
    (videos / f"8{suffix}").mkdir()  # 7 is missing
    records = SSv2(tmp_path).records("train")
    assert pairs(records) == [(str(videos / f"{n}{suffix}"), n - 7, None, None) for n in (7, 8, 9)]
    assert [record.video_id for record in records] == ["7", "8", "9"]
    write(videos / "8.avi", "")
    (videos / ("8" if suffix else "8.webm")).mkdir()
    with pytest.raises(DataError, match=r"contains 8(\.\w+)? and 8(\.\w+)?\b"):
        SSv2(tmp_path).records("train")


def make_frame_lists(folder: Path, videos: dict[str, range], split: str = "train") -> Path:
    lines = ["original_vido_id video_id frame_id path labels"]
    for number, (video, frames) in enumerate(videos.items()):
        lines += [f'{video} {number} {i} {video}/{video}_{n:06d}.jpg ""' for i, n in enumerate(frames)]
    return write(folder / f"{split}.csv", "\n".join(lines) + "\n")


def test_pyslowfasts_frame_lists(tmp_path, caplog):
    caplog.set_level("INFO")
    write_json_lists(tmp_path)
    make_frame_lists(tmp_path, {"8": range(1, 5), "7": range(1, 12), "9": range(3, 6)})
    make_frame_lists(tmp_path, {"10": range(1, 3)}, "val")
    for number in range(1, 12):  # as its DATASET.md extracts them
        frame = write_frames(tmp_path / f"made{number}", number)
        (tmp_path / "frames" / "7").mkdir(parents=True, exist_ok=True)
        (frame / f"{number:05d}.jpg").rename(tmp_path / "frames" / "7" / f"7_{number:06d}.jpg")
    dataset = SSv2(tmp_path, tmp_path / "frames")
    records = dataset.records("train")
    assert pairs(records) == [
        (str(tmp_path / "frames/7"), 0, 11, (1, 11)),
        (str(tmp_path / "frames/8"), 1, 4, (1, 4)),
        (str(tmp_path / "frames/9"), 2, 3, (3, 5)),
    ]
    assert [record.video_id for record in records] == ["7", "8", "9"]
    with open_video(records[0].path, records[0].span) as video:
        assert [number_of(frame) for frame in video.read([0, 10])] == [0, 10]
    assert [record.video_id for record in dataset.records("test")] == ["10"]
    assert "train.csv (pyslowfast)" in caplog.text
    (tmp_path / "20bn-something-something-v2").mkdir()
    official = SSv2(tmp_path, list_format="official").records("train")[0]
    assert official.path == str(tmp_path / "20bn-something-something-v2" / "7.webm")


def test_videos_without_frames_stay_in_the_list(tmp_path, caplog):
    write_json_lists(tmp_path)
    make_frame_lists(tmp_path, {"8": range(1, 5)})
    records = SSv2(tmp_path).records("train")
    assert [(record.path, record.span) for record in records] == [
        (str(tmp_path / "7"), None),
        (str(tmp_path / "8"), (1, 4)),
        (str(tmp_path / "9"), None),
    ]
    assert re.search(r"\btrain\.csv\b.*\b2 videos\b.*: 7 ", caplog.text)
    make_frame_lists(tmp_path, {"x": range(1, 5)})
    with pytest.raises(DataError, match=r"train\.csv: .*\bno frames of any video\b.*'7'"):
        SSv2(tmp_path).records("train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 0 2 7/7_000002.jpg", r"train.csv:3: a line must be 'original_vido_id video_id frame_id path labels'"),
        ('7 0 2 7/seven.jpg ""', r"train.csv:3: .* the path ending with the number of the frame"),
        ('7 0 2 7/7_000003.jpg ""', r"train.csv:3: the frames .* 7 comes to frame 1 of 7, and then to 7/7_000003.jpg"),
        ('7 0 2 8/7_000002.jpg ""', r"train.csv:3: the frames of a video must follow one another, in one folder"),
    ],
)
def test_faults_of_frame_lists(tmp_path, line, message):
    write_json_lists(tmp_path)
    write(make_frame_lists(tmp_path, {"7": [1]}), (tmp_path / "train.csv").read_text() + line + "\n")
    with pytest.raises(DataError, match=message):
        SSv2(tmp_path).records("train")


@pytest.mark.parametrize(
    ("name", "text", "folder", "found"),
    [
        ("sthv2_train_list_videos.txt", "7.webm 1\n8.webm 2\n", "videos", [("7.webm", 1, None), ("8.webm", 2, None)]),
        ("sthv2_train_list_rawframes.txt", "7 40 1\n8 31 2\n", "rawframes", [("7", 1, 40), ("8", 2, 31)]),
        ("train_videofolder.txt", "7 40 1\n8 31 2", "20bn-something-something-v2-frames", [("7", 1, 40), ("8", 2, 31)]),
    ],
)
def test_ssv2_in_lists_of_others(tmp_path, name, text, folder, found):
    write_json_lists(tmp_path)
    (tmp_path / folder).mkdir()
    for split in ("train", "val"):
        write(tmp_path / name.replace("train", split), text)
    chosen = "tsm" if "videofolder" in name else "mmaction2"
    with pytest.raises(DataError, match=rf"v2-train.json \(official\), {name} \({chosen}\). DATA.LIST_FORMAT says"):
        SSv2(tmp_path).records("train")
    dataset = SSv2(tmp_path, list_format=chosen)
    assert pairs(dataset.records("train")) == [(str(tmp_path / folder / path), *rest, None) for path, *rest in found]
    # TSM labels all videos of its test list 0: it is not used.
    write(tmp_path / name.replace("train", "test"), text.replace(" 1", " 0"))
    assert dataset.records("test") == dataset.records("val")


def test_the_order_of_labels_must_be_that_of_the_list(tmp_path):
    write(tmp_path / "something-something-v1-labels.csv", "\n".join(NAMES) + "\n")
    write(tmp_path / "train_videofolder.txt", "7 40 0\n")
    (tmp_path / "20bn-something-something-v1").mkdir()
    with pytest.raises(DataError, match=r"train_videofolder\.txt\b.*\bDATA\.LABEL_ORDER is file\b.*\balphabetical\b"):
        SSv1(tmp_path).records("train")
    assert SSv1(tmp_path, label_order="alphabetical").records("train")[0].label == 0
    (tmp_path / "train_videofolder.txt").rename(tmp_path / "sthv1_train_list_rawframes.txt")
    (tmp_path / "20bn-something-something-v1").rename(tmp_path / "rawframes")
    with pytest.raises(DataError, match=r"\(mmaction2\).*DATA.LABEL_ORDER"):
        SSv1(tmp_path, label_order="alphabetical").records("train")
    assert SSv1(tmp_path).records("train")[0].num_frames == 40


def test_the_format_is_a_key(tmp_path):
    cfg = get_defaults()
    cfg.DATA.PATH_TO_DATA_DIR, cfg.DATA.LIST_FORMAT = str(tmp_path), "tsm"
    write(tmp_path / "train.csv", "a.mp4 1\n")
    write(tmp_path / "train_videofolder.txt", "a 10 0\n")
    assert build_dataset(cfg, "train").records("train")[0].num_frames == 10


@pytest.mark.parametrize("name", ["{:05d}.jpg", "img_{:05d}.jpg", "7_{:06d}.jpg", "{:06d}.jpg"])
def test_frames_under_all_their_usual_names(tmp_path, name):
    folder = write_frames(tmp_path / "7", 12)
    for number in range(1, 13):
        (folder / f"{number:05d}.jpg").rename(folder / name.format(number))
    for span in (None, (1, 12)):
        with open_video(folder, span) as video:
            assert [number_of(frame) for frame in video.read([0, 11])] == [0, 11]


def test_a_list_of_a_million_frames_is_read_line_by_line(tmp_path):
    """Something-Something v2 has 25 million: what is kept grows with the videos, not with the frames."""
    import tracemalloc

    from slowfast_gta.datasets.lists import read_frame_list

    path = make_frame_lists(tmp_path, {"7": range(1, 100_001)})
    tracemalloc.start()
    assert read_frame_list(path) == {"7": ("7", (1, 100_000))}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 10


def test_a_real_video_of_a_published_list(tmp_path):
    make_official(tmp_path)
    write_video(tmp_path / "abc_000010_000020.mp4", 12)
    with open_video(Kinetics(tmp_path).records("train")[0].path) as video:
        assert video.num_frames == 12


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("\n", r"classes.txt: the list of classes is empty"),
        ("a\n\nb\na\n", r"classes.txt:4: the class 'a' was already given at .*classes.txt:1. Every class may be"),
    ],
)
def test_faults_of_a_list_of_classes(tmp_path, lines, message):
    write(tmp_path / "classes.txt", lines)
    write(tmp_path / "train.csv", "a.mp4 0\n")
    with pytest.raises(DataError, match=message):
        Kinetics(tmp_path, num_classes=2).records("train")

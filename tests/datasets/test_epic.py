"""EPIC-Kitchens 55 and 100 as published: csv lists, verbs and nouns, parts of long videos and of frame folders."""

import re

import pytest
from epic_miniature import HEAD_100, NOUNS, TRAIN, VAL_55, VAL_100, VERBS, action, make_epic, make_frames, make_video
from made_videos import number_of
from miniatures import ROOT

from slowfast_gta import load_config
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.epic import EPIC, parse_time
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.video.readers import open_video


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00:00.14", 0.14),
        ("00:00:01.089", 1.089),
        ("00:01:05.2", 65.2),
        ("01:02:03", 3723.0),
        ("00:00:59.9999999", 59.9999999),
        (" 00:00:07.50 ", 7.5),
    ],
)
def test_times_have_any_number_of_decimals(text, seconds):
    assert parse_time(text) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize("text", ["", "1.5", "00:05.2", "00:00:05.", "00:00:05,2", "a:00:05.2", "-00:00:05.2", "nan"])
def test_what_is_no_time(text):
    assert parse_time(text) is None


@pytest.mark.parametrize(("release", "val", "ids"), [(100, VAL_100, "narration_id"), (55, VAL_55, "uid")])
def test_lists_as_published(tmp_path, caplog, release, val, ids):
    caplog.set_level("INFO")
    folder = make_epic(tmp_path / "epic", release, TRAIN, val)
    video, frames = make_video(folder, "P01_01"), make_frames(folder, "P02_101")
    make_video(folder, val[0]["video_id"])
    dataset = EPIC(folder)
    assert dataset.class_names() == {"verb": VERBS, "noun": NOUNS}
    assert dataset.mirror_labels() == [[0, 1, 2], [0, 1, 2, 3]]
    assert dataset.records("train") == [
        VideoRecord(str(video), (2, 2), str(TRAIN[0][ids]), span=(0.5, 2.0)),
        VideoRecord(str(frames), (0, 3), str(TRAIN[1][ids]), span=(12, 42)),
    ]
    caplog.clear()
    assert dataset.records("val") == dataset.records("test")
    assert [record.label for record in dataset.records("test")] == [(1, 1)]
    assert "no labels; testing on the validation list" in caplog.text or "test is P26 and on of its" in caplog.text


def test_the_clip_of_an_action_is_its_part_of_the_long_video(tmp_path):
    folder = make_epic(tmp_path / "epic", 100, TRAIN, VAL_100)
    make_video(folder, "P01_01"), make_frames(folder, "P02_101")
    spans = []
    for record in EPIC(folder).records("train"):
        with open_video(record.path, record.span) as video:
            spans.append([number_of(frame) for frame in video.read(range(video.num_frames))])
    assert spans == [list(range(6, 24)), list(range(12, 43))]


@pytest.mark.parametrize(
    "pattern",
    [
        *("{p}/rgb_frames/{v}", "frames_rgb_flow/rgb/train/{p}/{v}", "{p}/{v}", "{v}"),
        *("{p}/videos/{v}.MP4", "videos/train/{p}/{v}.MP4", "{p}/{v}.MP4", "{v}.mp4"),
    ],
)
def test_the_places_of_the_downloads(tmp_path, pattern):
    folder = make_epic(tmp_path / "lists", 100, TRAIN[:1], VAL_100)
    path = tmp_path / "videos" / pattern.format(p="P01", v="P01_01")
    path.mkdir(parents=True) if path.suffix == "" else (path.parent.mkdir(parents=True), path.write_bytes(b""))
    (record,) = EPIC(folder, tmp_path / "videos").records("train")
    assert (record.path, record.span) == (str(path), (6, 24) if path.suffix == "" else (0.5, 2.0))


def test_some_videos_missing_are_counted_and_all_are_refused(tmp_path, caplog):
    folder = make_epic(tmp_path / "epic", 100, TRAIN, VAL_100)
    with pytest.raises(DataError, match=r"\(of 2\).*\bP01_01\b.*P01/rgb_frames/"):
        EPIC(folder).records("train")
    make_video(folder, "P01_01")
    assert len(EPIC(folder).records("train")) == 2
    assert re.search(r"\b1 of 2 videos\b.*\bP02_101\b", caplog.text)


def test_a_pickle_is_not_read(tmp_path):
    (tmp_path / "EPIC_100_train.pkl").write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
    with pytest.raises(DataError, match=r"EPIC_100_train\.csv .*\(55\).*EPIC_100_train\.pkl is not read"):
        EPIC(tmp_path).class_names()


def test_both_releases_in_one_folder_are_ambiguous(tmp_path):
    for release, val in ((100, VAL_100), (55, VAL_55)):
        make_epic(tmp_path, release, TRAIN, val)
    with pytest.raises(DataError, match=r"both EPIC_100_train\.csv\b.*\bEPIC_train_action_labels\.csv\b"):
        EPIC(tmp_path).class_names()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verb_class": 3}, r"train.csv:3: verb_class must be a number from 0 to 2; it is '3'"),
        ({"noun_class": -1}, r"train.csv:3: noun_class must be a number from 0 to 3; it is '-1'"),
        ({"noun_class": ""}, r"train.csv:3: noun_class must be a number from 0 to 3; it is ''"),
        (
            {"stop_timestamp": "00:00:00.40"},
            r"train.csv:3: start_timestamp and stop_timestamp must be "
            "increasing times",
        ),
        ({"start_timestamp": "0.5"}, r"train.csv:3: start_timestamp .* they are '0.5', '00:00:03.50'"),
        ({"narration_id": "P01_01_0"}, r"train.csv:3: the video id 'P01_01_0' was already given at .*train.csv:2"),
    ],
)
def test_faulty_rows_are_reported_with_their_line(tmp_path, change, message):
    folder = make_epic(tmp_path / "epic", 100, [TRAIN[0], TRAIN[1] | change], VAL_100)
    make_video(folder, "P01_01"), make_video(folder, "P02_101")
    with pytest.raises(DataError, match=message):
        EPIC(folder).records("train")


def test_faulty_frame_numbers_and_files_are_refused(tmp_path):
    folder = make_epic(tmp_path / "epic", 100, [TRAIN[1] | {"start_frame": 50}], VAL_100)
    make_frames(folder, "P02_101")
    with pytest.raises(DataError, match=r"csv:2: start_frame.*stop_frame.*'50', '42'"):
        EPIC(folder).records("train")
    path = folder / "EPIC_100_train.csv"
    path.write_text(path.read_text().replace("noun_class,", "class_of_noun,", 1))
    with pytest.raises(DataError, match=r"train.csv:1:.*noun_class"):
        EPIC(folder).records("train")
    path.write_text(",".join(HEAD_100) + "\nP01_01_0,P01\n")
    with pytest.raises(DataError, match=r"train\.csv:2: .*\bfewer\b"):
        EPIC(folder).records("train")
    path.write_text(",".join(HEAD_100) + '\nP01_01_0,"P01\nP01_01_1,P01\n')
    with pytest.raises(DataError, match=r"train\.csv:2: .*\bquote\b"):
        EPIC(folder).records("train")
    path.write_text(",".join(HEAD_100) + "\n")
    with pytest.raises(DataError, match=r"train\.csv: .*\bno action\b.*\btrain\b"):
        EPIC(folder).records("train")
    (folder / "EPIC_100_verb_classes.csv").write_text("id,key\n0,take\n2,put\n")
    with pytest.raises(DataError, match=r"verb_classes.csv:3:.*'number,name,...'"):
        EPIC(folder).class_names()


def test_the_participants_that_epic_55_holds_out(tmp_path):
    rows = [action(n, f"P{n:02d}_01", 0.5, 2.0, 0, 0) for n in (1, 25, 26, 31)]
    folder = make_epic(tmp_path / "epic", 55, rows, [])
    make_video(folder, "P01_01"), make_video(folder, "P31_01")
    found = {split: [record.video_id for record in EPIC(folder).records(split)] for split in ("train", "val", "test")}
    assert found == {"train": ["1", "25"], "val": ["26", "31"], "test": ["26", "31"]}
    make_epic(folder, 55, rows[:2], [])
    with pytest.raises(DataError, match=r"\bP26 and on\b.*\bval\b"):
        EPIC(folder).records("val")
    make_epic(folder, 55, [rows[0] | {"participant_id": "me"}], [])
    with pytest.raises(DataError, match=r"labels.csv:2:.*participant_id.*P01;.*'me'"):
        EPIC(folder).records("train")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            ["MODEL.NUM_CLASSES", 3],
            r"is 3, but EPIC has the outputs verb, noun: it must be a list of 2 and",
        ),
        (["MODEL.NUM_CLASSES", [3, 5]], r"MODEL.NUM_CLASSES is \[3, 5\], but EPIC has \[3, 4\] classes"),
        (["MODEL.NUM_CLASSES", [3, 4], "MODEL.OUTPUTS", ["noun", "verb"]], r"it must be a list of 2 and MODEL.OUTPUTS"),
        (["MODEL.NUM_CLASSES", [3, 4], "TRAIN.DATASET", "Kinetics"], r"Kinetics has one output: it must be one number"),
    ],
)
def test_the_outputs_of_the_network_are_those_of_the_data_set(tmp_path, pairs, message):
    make_epic(tmp_path, 100, TRAIN, VAL_100)
    cfg = load_config(ROOT / "configs/EPIC/R2D50_TSM.yaml", ["DATA.PATH_TO_DATA_DIR", tmp_path, *pairs])
    with pytest.raises(ConfigError, match=message):
        build_dataset(cfg, "train")

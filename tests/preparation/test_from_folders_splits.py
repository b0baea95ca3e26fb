"""from-folders: three disjoint splits by source, names that a list can hold, and a recipe for the machine."""

import json
import re
import unicodedata
from pathlib import Path

import pytest
import yaml
from miniatures import keys

from slowfast_gta import load_config
from slowfast_gta.commands import run_command
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.folders import VIDEO_SUFFIXES, find_videos
from slowfast_gta.datasets.lists import not_listable, read_paths
from slowfast_gta.datasets.splits import draw_splits, source_of
from slowfast_gta.engine.training.schedule import build_schedule, lr_at
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.preparation.from_folders import write_lists
from slowfast_gta.preparation.machine import Machine, this_machine
from slowfast_gta.preparation.recipe import num_epochs

LAPTOP = Machine(num_cores=2, memory_gib=24.0)
SERVER = Machine(num_cores=32, memory_gib=256.0, gpu="Some GPU", gpu_memory_gib=80.0)


def make_folders(root: Path, classes: dict[str, list[str]]) -> Path:
    """Empty files that are called like videos."""
    for name, videos in classes.items():
        (root / name).mkdir(parents=True)
        for video in videos:
            (root / name / video).touch()
    return root


def clips(count: int) -> list[str]:
    return [f"clip{number:03d}.mp4" for number in range(count)]


def write(root: Path, output: Path, machine: Machine = LAPTOP, wanted=None, val=0.1, test=0.1, seed=0):
    return write_lists(root, output, val, test, seed, False, machine, wanted)


def listed(output: Path, split: str) -> list[str]:
    return (output / f"{split}.csv").read_text().splitlines()


def test_three_splits_share_no_video_and_leave_none_out(tmp_path):
    root = make_folders(tmp_path / "mine", {"a": clips(20), "b": clips(11), "c": clips(3)})
    write(root, tmp_path / "lists", val=0.2, test=0.3)
    splits = {split: set(listed(tmp_path / "lists", split)) for split in ("train", "val", "test")}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 34
    counts = {split: [sum(line.endswith(f" {label}") for line in lines) for label in range(3)]
              for split, lines in splits.items()}  # fmt: skip
    assert counts == {"train": [10, 6, 1], "val": [4, 2, 1], "test": [6, 3, 1]}


def test_the_same_files_and_seed_give_the_same_splits_in_any_order():
    videos = [f"a/{number}.mp4" for number in range(100)]
    first = draw_splits({"a": videos}, 0.1, 0.1, seed=0)
    assert first == draw_splits({"a": videos[::-1]}, 0.1, 0.1, seed=0)
    assert [len(first[split]["a"]) for split in ("train", "val", "test")] == [80, 10, 10]
    assert first["test"]["a"] != draw_splits({"a": videos}, 0.1, 0.1, seed=1)["test"]["a"]
    later = draw_splits({"a": [*videos, "a/new.mp4"]}, 0.1, 0.1, seed=0)
    assert len(set(later["test"]["a"]) & set(first["test"]["a"])) >= 9


def test_ucf_groups_are_in_one_split():
    """25 groups of four to seven clips in each class, as UCF101 has them."""
    classes = {
        name: [f"{name}/v_{name}_g{n:02d}_c{clip:02d}.avi" for n in range(1, 26) for clip in range(1, 5 + n % 4)]
        for name in ("Archery", "Biking")
    }
    splits = draw_splits(classes, 0.1, 0.1, seed=0)
    for name, videos in classes.items():
        groups = {split: {source_of(video, name) for video in found[name]} for split, found in splits.items()}
        assert not groups["train"] & groups["val"] | groups["train"] & groups["test"] | groups["val"] & groups["test"]
        assert sum(len(found[name]) for found in splits.values()) == len(videos)
        for split in ("val", "test"):
            assert 0.05 * len(videos) <= len(splits[split][name]) <= 0.15 * len(videos)


def test_a_film_of_hmdb_is_in_one_split_whatever_the_class():
    films = [f"Film_{number}" for number in range(12)]
    classes = {
        name: [f"{name}/{film}_{name}_u_nm_np1_ba_goo_{clip}.avi" for film in films for clip in range(3)]
        for name in ("brush_hair", "hug")
    }
    assert source_of("hug/Alpha_Dog_1_hug_h_cm_np2_fr_med_0.avi", "hug") == "Alpha_Dog_1"
    splits = draw_splits(classes, 0.1, 0.1, seed=3)
    where = {}
    for split, found in splits.items():
        assert all(found.values()), "every class is in every split"
        for name, videos in found.items():
            for video in videos:
                where.setdefault(source_of(video, name), set()).add(split)
    assert len(where) == 12 and all(len(of_film) == 1 for of_film in where.values())


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("a/dQw4w9WgXcQ_000010_000020.mp4", "b/dQw4w9WgXcQ_000100_000110.mp4", True),
        ("a/person01_boxing_d1.avi", "a/person01_boxing_d2.avi", True),
        ("a/person01_boxing_d1.avi", "a/person02_boxing_d1.avi", False),
        ("a/x_g1_c1.mp4", "a/x_g10_c1.mp4", False),
        ("a/holiday_01.mp4", "a/holiday_02.mp4", False),
        ("a/jpg1.mp4", "a/jpg2.mp4", False),
    ],
)
def test_sources_that_file_names_say(first, second, same):
    assert (source_of(first, "a") == source_of(second, "a")) == same


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        ({"a": clips(2), "b": clips(9)}, {}, r"'a' has 2 videos: too few for the 3 splits.*--test-fraction 0"),
        ({"a": clips(1), "b": clips(9)}, {"test": 0.0}, r"'a' has 1 video: too few for the 2 splits"),
        (
            {"a": [f"v_a_g01_c{n}.avi" for n in range(9)], "b": clips(9)},
            {},
            r"'a' has 9 videos, by their names "
            "cut from 1 source",
        ),
        ({"a": clips(9)}, {}, r"'a' is the only class"),
        ({"a": ["notes.txt"], "b": ["x.doc", "y.doc"]}, {}, r"no class folder contains a video.*2 \.doc, 1 \.txt"),
    ],
)
def test_too_little_is_refused(tmp_path, classes, options, message):
    with pytest.raises(DataError, match=message):
        write(make_folders(tmp_path / "mine", classes), tmp_path / "lists", **options)
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.1), (0.5, 0.5), (0.1, 1.0), (0.1, -0.1)])
def test_fractions_leave_something_to_train_with(tmp_path, val, test):
    with pytest.raises(ConfigError):
        write(make_folders(tmp_path / "mine", {"a": clips(9), "b": clips(9)}), tmp_path / "lists", val=val, test=test)


def test_testing_on_the_validation_videos_is_logged(tmp_path):
    root = make_folders(tmp_path / "mine", {"a": clips(9), "b": clips(9)})
    written = write(root, tmp_path / "lists", test=0.0)
    assert listed(tmp_path / "lists", "val") == listed(tmp_path / "lists", "test")
    assert any("Testing uses the validation videos" in note for note in written.notes)
    for split in ("train", "val"):
        make_folders(tmp_path / "split" / split, {"a": clips(3), "b": clips(3)})
    written = write(tmp_path / "split", tmp_path / "lists2")
    assert any("Testing uses the validation videos" in note for note in written.notes)


def test_every_suffix_that_is_left_out_is_counted_and_ts_and_gif_are_videos(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a.ts", "b.GIF", "c.mp4", "d.heic", "e.heic", "f"):
        (tmp_path / "a" / name).touch()
    found = find_videos(tmp_path)
    assert found.videos == ["a/a.ts", "a/b.GIF", "a/c.mp4"]
    assert found.others == {".heic": 2, "no suffix": 1}
    assert {".ts", ".gif"} <= VIDEO_SUFFIXES


def test_a_picture_beside_videos_does_not_make_their_folder_a_folder_of_frames(tmp_path):
    root = make_folders(tmp_path / "mine", {"a/deep": ["x.mp4", "y.mp4", "thumbnail.jpg"]})
    found = find_videos(root)
    assert found.videos == ["a/deep/x.mp4", "a/deep/y.mp4"] and found.others == {".jpg": 1}


# As macOS names screen recordings, and as names are copied from web pages.
ODD_NAMES = [
    *("Aufnahme 9.41\u202fAM.mp4", "no\xa0break.mp4", "zero\u200cwidth.mp4", "joined\u200d.mp4", "\u2028line.mp4"),
    *("next\x85line.mp4", "\xa0first.mp4", "vertical\x0btab.mp4", 'in"ch.mp4', "a,b.mp4", "1 2.mp4"),
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: "-".join(f"{ord(one):x}" for one in name[:6]))
def test_names_that_a_list_can_hold_come_out_as_they_went_in(tmp_path, name):
    root = make_folders(tmp_path / "mine", {"a": [*clips(3), name], "b": clips(3)})
    write(root, tmp_path / "lists")
    cfg = load_config(tmp_path / "lists" / "train.yaml")
    paths = [record.path for split in ("train", "val", "test") for record in build_dataset(cfg, split).records(split)]
    assert str(root / "a" / name) in paths and all(Path(path).exists() for path in paths)


@pytest.mark.parametrize("name", ["a\nb.mp4", "tab\t1.mp4", " first.mp4", '"quoted".mp4', "re\rturn.mp4"])
def test_whether_a_name_can_be_listed_is_found_by_reading_it_back(tmp_path, name):
    """Whatever is refused would be read as something else, and whatever is taken would not."""
    separator = "\t" if " " in name else " "
    (tmp_path / "x.csv").write_bytes(f"{name}{separator}0\n".encode())
    try:
        read = [video.name for video in read_paths(tmp_path / "x.csv")]
    except DataError:
        read = []
    assert (read == [name]) == (not not_listable([name], separator))


def test_all_of_unicode_that_is_not_a_blank_or_a_line_can_be_listed():
    names = [f"a{chr(code)}b" for code in range(0x20, 0x3100) if unicodedata.category(chr(code)) != "Cs"]
    assert not_listable(names, "\t") == []


@pytest.mark.parametrize(("machine", "wanted", "kind"), [(LAPTOP, None, "cpu"), (SERVER, None, "gpu"),
                                                         (SERVER, "cpu", "cpu"), (LAPTOP, "gpu", "gpu")])  # fmt: skip
def test_the_recipe_fits_the_machine_and_logs_what_it_was_made_for(tmp_path, machine, wanted, kind):
    root = make_folders(tmp_path / "mine", {"a": clips(10), "b": clips(10)})
    write(root, tmp_path / "lists", machine, wanted)
    cfg, baseline = (load_config(tmp_path / "lists" / name) for name in ("train.yaml", "train_r2d.yaml"))
    assert (18 if kind == "cpu" else 50) == cfg.RESNET.DEPTH
    assert (cfg.ATTENTION.NAME, baseline.ATTENTION.NAME) == ("GTA", "none")
    assert cfg.OUTPUT_DIR != baseline.OUTPUT_DIR
    differing = {"ATTENTION", "OUTPUT_DIR"}
    assert {key for key in cfg if cfg[key] != baseline[key]} == differing
    comments = [line for line in (tmp_path / "lists" / "train.yaml").read_text().splitlines() if line.startswith("#")]
    text = "\n".join(comments)
    assert re.search(r"\b16 videos\b.*\b2 videos for validation\b.*\b2 videos for testing\b", text)
    assert str(machine) in text
    assert ("assumed" in text) == (kind == "gpu" and not machine.gpu)
    assert 0 < cfg.TRAIN.KEEP_CHECKPOINTS <= 5 and cfg.TRAIN.BATCH_SIZE <= 16
    assert 1 <= cfg.DATA_LOADER.NUM_WORKERS <= machine.num_cores


def test_the_command_prints_the_numbers_and_takes_for(tmp_path, capsys):
    root = make_folders(tmp_path / "mine", {"a": clips(10), "b": clips(10)})
    words = ["from-folders", str(root), "--output", str(tmp_path / "lists"), "--for", "gpu", "--test-fraction", "0.2"]
    assert run_command("prepare_data", [*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["train"], answer["val"], answer["test"], answer["for"]) == (14, 2, 4, "gpu")
    assert yaml.safe_load(Path(answer["baseline"]).read_text())["OUTPUT_DIR"] == "runs/lists_r2d"


def test_this_machine_has_cores_and_memory():
    machine = this_machine()
    assert machine.num_cores >= 1 and machine.memory_gib > 0.1 and str(machine.num_cores) in str(machine)


def test_few_videos_get_more_epochs():
    counts = [num_epochs(num_train, "cpu") for num_train in (2, 32, 200, 10_000)]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1] >= 1
    assert num_epochs(32, "cpu") * 32 == 3200, "what docs/your-own-videos.md was measured with"


@pytest.mark.parametrize("epochs", [1, 2, 3, 30])
@pytest.mark.parametrize("base", ["OwnVideos_R2D18_GTA_CPU", "OwnVideos_R2D50_GTA"])
def test_the_rate_rises_and_falls_however_short_the_training(epochs, base):
    cfg = load_config(f"configs/Kinetics/{base}.yaml", keys("SOLVER.MAX_EPOCH", epochs))
    schedule = build_schedule(cfg)
    rates = [lr_at(epochs * step / 100, schedule) for step in range(100)]
    peak = rates.index(max(rates))
    assert 0 < peak <= 12, "it rises for a tenth at most"
    assert rates[peak] > 0.9 * cfg.SOLVER.BASE_LR and rates[-1] < 0.1 * cfg.SOLVER.BASE_LR


def test_a_warm_up_longer_than_the_training_is_refused_where_it_may_not_shorten():
    with pytest.raises(ConfigError, match=r"WARMUP_EPOCHS"):
        load_config("configs/SSv2/R2D50.yaml", keys("SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_EPOCHS", 2.0))
    with pytest.raises(ConfigError, match=r"WARMUP_MAX_FRACTION"):
        load_config("configs/SSv2/R2D50.yaml", keys("SOLVER.WARMUP_MAX_FRACTION", 0.0))

"""Broken videos from the data set to the files of a run: counted, listed once, and never a reason to wait for ever."""

import json
from pathlib import Path

import pytest
from miniatures import make_ssv2, metrics

from slowfast_gta.datasets.clips import BadVideo
from slowfast_gta.engine.bad_files import BadFiles

VIDEOS = "20bn-something-something-v2"


def break_videos(data: Path, *numbers: int) -> None:
    for number in numbers:
        (data / VIDEOS / f"{number}.webm").write_text("no video")


def bad_files(output: Path) -> dict[str, str]:
    """{name of the file: its reason}; each comes once."""
    lines = [line.split("\t") for line in (output / "bad_files.txt").read_text().splitlines()]
    found = {Path(path).name: reason for path, reason in lines}
    assert len(found) == len(lines)
    return found


@pytest.mark.parametrize(("on_error", "num_workers"), [("skip", 0), ("replace", 2)])
def test_what_is_counted_and_listed(run_tiny, tmp_path, on_error, num_workers):
    data = make_ssv2(tmp_path / "data", 8, 3)
    break_videos(data, 1001, 1006, 1009)
    pairs = ("DATA.ON_ERROR", on_error, "DATA_LOADER.NUM_WORKERS", num_workers, "TENSORBOARD.ENABLE", True)
    code, _, err = run_tiny(*pairs, data=data)
    assert code == 0, err
    output = tmp_path / "run"
    found = bad_files(output)
    assert set(found) == {"1001.webm", "1006.webm", "1009.webm"} and "this is not a video" in found["1006.webm"]
    counts = {"num_requested": 8, "num_decoded": 6, "num_skipped": 0, "num_replaced": 0, "num_timed_out": 0}
    counts["num_skipped" if on_error == "skip" else "num_replaced"] = 2
    rows = metrics(output)
    for row in (row for row in rows if row["kind"] == "train" and row["step"] % 2 == 0):
        assert {name: row[name] for name in counts} == counts
    counts = {"num_requested": 3, "num_decoded": 2, "num_skipped": 1, "num_replaced": 0, "num_timed_out": 0}
    results = json.loads((output / "results.json").read_text())
    for row in [row for row in rows if row["kind"] != "train"] + [results]:
        assert {name: row[name] for name in counts} == counts and row["num_missing"] == 1
    assert err.count("1006.webm: this is not") == 1, "said once, not every epoch"
    assert "Test: NOT FINAL, 1 videos missing" in err and "Test: of 3 videos 2 decoded, 1 skipped" in err
    board = b"".join(path.read_bytes() for path in (output / "tensorboard").iterdir())
    assert b"train/num_requested" in board and b"test/num_skipped" in board


def test_a_second_start_adds_what_is_new_and_repeats_nothing(run_tiny, tmp_path):
    data = make_ssv2(tmp_path / "data", 8, 2)
    break_videos(data, 1001)
    assert run_tiny("DATA.ON_ERROR", "skip", "SOLVER.MAX_EPOCH", 1, data=data)[0] == 0
    first = (tmp_path / "run" / "bad_files.txt").read_text()
    break_videos(data, 1002)
    code, _, err = run_tiny("DATA.ON_ERROR", "skip", "SOLVER.MAX_EPOCH", 2, data=data)
    assert code == 0 and "1001.webm: this" not in err and "1002.webm: this" in err
    assert (tmp_path / "run" / "bad_files.txt").read_text().startswith(first)
    assert set(bad_files(tmp_path / "run")) == {"1001.webm", "1002.webm"}


def test_the_file_that_stops_a_training_is_listed_too(run_tiny, tmp_path):
    data = make_ssv2(tmp_path / "data", 4, 2)
    break_videos(data, 1002)
    code, _, err = run_tiny(data=data)
    assert code == 1 and "1002.webm: this is not a video" in err
    assert set(bad_files(tmp_path / "run")) == {"1002.webm"}


def test_nothing_broken_nothing_said(trained):
    assert not (trained / "bad_files.txt").exists()
    assert "skipped" not in (trained / "log.txt").read_text()
    results = json.loads((trained / "results.json").read_text())
    assert (results["num_requested"], results["num_decoded"], results["num_timed_out"]) == (6, 6, 0)


def test_what_does_not_fill_a_batch_is_said_once(run_tiny, tmp_path):
    data = make_ssv2(tmp_path / "data", 7, 2)
    code, _, err = run_tiny("TEST.ENABLE", False, data=data)
    assert code == 0 and err.count("An epoch is 1 steps of TRAIN.BATCH_SIZE 4; the last 3 of the 7 videos") == 1


def test_a_time_limit_that_is_over(run_tiny, tmp_path):
    data = make_ssv2(tmp_path / "data", 4, 2)
    code, _, err = run_tiny("DATA_LOADER.SAMPLE_TIMEOUT_SEC", 1e-9, data=data)
    assert code == 1 and "SAMPLE_TIMEOUT_SEC" in err and ".webm" in err
    code, _, err = run_tiny("DATA_LOADER.SAMPLE_TIMEOUT_SEC", -1, data=data)
    assert code == 2 and "DATA_LOADER.SAMPLE_TIMEOUT_SEC" in err and "0 or more" in err


def test_names_with_tabs_and_ends_of_lines_stay_on_one_line(tmp_path):
    listed = BadFiles(tmp_path)
    listed.add([BadVideo("a", "x\ty\nz.mp4: broken\nfile.", "x\ty\nz.mp4", False)])
    listed.add([BadVideo("b", "\udcff.mp4: gone.", "\udcff.mp4", False)])
    BadFiles(tmp_path).add([BadVideo("a", "another reason", "x\ty\nz.mp4", True)])
    text = (tmp_path / "bad_files.txt").read_text()
    assert text == "x\\ty\\nz.mp4\tx y z.mp4: broken file.\n\\udcff.mp4\t?.mp4: gone.\n"

"""Broken videos from the data set to the files of a run: counted, listed once, and never a reason to wait for ever."""

import json
import re
from pathlib import Path

import pytest
import torch
from float_clips import batch_of
from miniatures import make_ssv2, metrics
from shards import ALIKE, assert_well, ends, start_shards

from slowfast_gta.engine.bad_files import BadFiles
from slowfast_gta.engine.training.train import _enough
from slowfast_gta.errors import DataError
from slowfast_gta.loading.batch import BadVideo

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
    assert re.search(r"\bTest: NOT FINAL\b.*\b1 video\b", err)
    assert re.search(r"\bTest: .*\b3 videos\b.*\b2 decoded\b.*\b1 skipped\b", err)
    board = b"".join(path.read_bytes() for path in (output / "tensorboard").iterdir())
    assert b"train_counters/num_requested" in board and b"test_counters/num_skipped" in board


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


def test_nothing_is_logged_where_nothing_is_broken(trained):
    assert not (trained / "bad_files.txt").exists()
    assert "skipped" not in (trained / "log.txt").read_text()
    results = json.loads((trained / "results.json").read_text())
    assert (results["num_requested"], results["num_decoded"], results["num_timed_out"]) == (6, 6, 0)


def test_an_incomplete_last_batch_is_logged_once(run_tiny, tmp_path):
    data = make_ssv2(tmp_path / "data", 7, 2)
    code, _, err = run_tiny("TEST.ENABLE", False, data=data)
    assert code == 0 and err.count("last batch: 3 of 7 videos") == 1


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
    assert text == "x\\ty\\nz.mp4\tx y z.mp4: broken file.\n\\udcff.mp4\t\\udcff.mp4: gone.\n"


# ------------------------------------------------------------------------------------------------- several processes


@pytest.fixture(scope="module")
def partly_broken(tmp_path_factory) -> Path:
    """Six videos to train on, of which two are broken; four to test on, of which one is."""
    data = make_ssv2(tmp_path_factory.mktemp("broken"), 6, 4)
    break_videos(data, 1002, 1003, 1008)
    return data


@pytest.mark.slow
def test_two_processes_of_which_one_may_have_nothing_left(partly_broken, tmp_path, run_tiny):
    """Batches of two clips, one for each process: with a broken one, one of them has none, and goes along. With this
    seed, 1002 is always the second one's, which writes nothing."""
    few = ("DATA.ON_ERROR", "skip", "TRAIN.BATCH_SIZE", 2, "TRAIN.KEEP_BEST", False, "SOLVER.MAX_EPOCH", 2)
    few += ("RNG_SEED", 32, "DATA_LOADER.NUM_WORKERS", 1)
    assert_well(ends(start_shards(2, partly_broken, tmp_path / "two", *few)))
    code, _, err = run_tiny(*ALIKE, *few, data=partly_broken)
    assert code == 0, err
    of_two, of_one = (
        torch.load(folder / "checkpoints/checkpoint_epoch_00002.pyth", weights_only=True)["model_state"]
        for folder in (tmp_path / "two", tmp_path / "run")
    )
    for name, value in of_one.items():
        torch.testing.assert_close(of_two[name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert bad_files(tmp_path / "two") == bad_files(tmp_path / "run")
    assert set(bad_files(tmp_path / "two")) == {"1002.webm", "1003.webm", "1008.webm"}
    counted = {"broken_videos", "num_missing", *(f"num_{what}" for what in ("requested", "decoded", "skipped"))}
    for one, two in zip(metrics(tmp_path / "run"), metrics(tmp_path / "two"), strict=True):
        assert {name: one.get(name) for name in counted} == {name: two.get(name) for name in counted}
    output = (tmp_path / "two" / "log.txt").read_text()
    assert re.search(r"\bTest: NOT FINAL\b.*\b1 video\b", output)
    assert re.search(r"\bTest: .*\b4 videos\b.*\b3 decoded\b.*\b1 skipped\b", output)


def test_statistics_need_as_many_batches_of_every_process():
    sizes = [0, 1, 0, 2, 1, 0, 3]
    batches = [batch_of(torch.zeros(size, 3, 1, 1, 1), torch.zeros(size, dtype=torch.long)) for size in sizes]
    assert [batch.num_samples for batch in _enough(batches, 1)] == [1, 1, 1, 2, 1, 1, 3]
    assert [batch.num_samples for batch in _enough(batches, 2)] == [2, 2, 2, 2, 2, 2, 3]
    assert [batch.num_samples for batch in _enough(batches[:1], 1)] == [0]
    with pytest.raises(DataError):
        list(_enough(batches[:3], 2))


def test_nothing_left_for_any_of_two_processes_ends_both(tmp_path):
    data = make_ssv2(tmp_path / "data", 4, 2)
    break_videos(data, 1000, 1001, 1002, 1003)
    ended = ends(start_shards(2, data, tmp_path / "run", "DATA.ON_ERROR", "skip", "TRAIN.BATCH_SIZE", 4))
    for code, output in ended:
        assert code == 1 and "1000.webm" in output and "Traceback" not in output, output

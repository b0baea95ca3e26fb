"""What a run says and writes."""

import io
import json
import logging
import sys
import time

import torch
from float_clips import batch_of

from slowfast_gta.engine.logging import Progress, progress_of, setup_logging
from slowfast_gta.engine.writers import MetricsWriter
from slowfast_gta.loading.batch import Batch


def clips(count: int) -> Batch:
    return batch_of(torch.zeros(count, 3, 1, 1, 1), torch.zeros(count, dtype=torch.long))


def test_console_has_messages_and_the_file_their_times(tmp_path, capsys):
    setup_logging(tmp_path / "log.txt")
    logging.getLogger("slowfast_gta.loading.loader").warning("Two classes are never mirrored.")
    assert capsys.readouterr() == ("", "Two classes are never mirrored.\n")
    line = (tmp_path / "log.txt").read_text()
    assert line.endswith("WARNING Two classes are never mirrored.\n") and line[:2] == "20"


def test_setting_up_again_does_not_double_log_lines(tmp_path, capsys):
    setup_logging(tmp_path / "first.txt")
    setup_logging(tmp_path / "second.txt")
    logging.getLogger("slowfast_gta").info("Once.")
    assert capsys.readouterr().err == "Once.\n"
    assert (tmp_path / "first.txt").read_text() == ""
    assert "Once." in (tmp_path / "second.txt").read_text()


def test_metrics_are_one_json_object_a_line_and_survive_a_crash(tmp_path):
    writer = MetricsWriter(tmp_path, tensorboard=True)
    writer.write("train", 3, {"loss": 1.5})
    writer.write("val", 3, {"top1": 50.0})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()  # before close: each line is written at once
    assert [json.loads(line) for line in lines] == [
        {"kind": "train", "step": 3, "loss": 1.5},
        {"kind": "val", "step": 3, "top1": 50.0},
    ]
    writer.close()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_progress_hands_out_every_batch_and_counts_its_clips(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("slowfast_gta.engine.logging.time.perf_counter", lambda: next(clock))
    progress = Progress([clips(2), clips(1)], 2, "title")
    assert [len(batch.label) for batch in progress] == [2, 1]
    # Every look at the clock is a second: three before the first batch is out (start, asked, got), and so on.
    assert progress.clips_per_sec == 3 / progress.seconds
    assert 0 < progress.data_share < 1


def test_without_a_terminal_a_long_epoch_logs_its_progress(monkeypatch, tmp_path):
    clock = iter(range(0, 100_000, 9))
    monkeypatch.setattr("slowfast_gta.engine.logging.time.perf_counter", lambda: next(clock))
    setup_logging(tmp_path / "log.txt")
    progress = Progress([clips(1)] * 10, 12, "epoch 2/5", start=2)
    for _ in progress:
        progress.note("loss 0.5, lr 0.1")
    lines = [line.split("INFO ")[1] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert len(lines) == 3, "of 270 s by this clock: one after 20 s, then not more than one a minute"
    assert lines[0].startswith("epoch 2/5: 3/12, loss 0.5, lr 0.1, 0.0 clips/s, ")
    assert [line.split(":")[1].split(",")[0] for line in lines] == [" 3/12", " 6/12", " 9/12"]
    assert lines[0].endswith("about 4 min left"), "one of ten took 27 s"


def test_the_first_line_does_not_wait_for_the_first_step(monkeypatch, tmp_path):
    monkeypatch.setattr("slowfast_gta.engine.logging._FIRST_LINE_SEC", 0.01)
    setup_logging(tmp_path / "log.txt")
    log = tmp_path / "log.txt"
    for _ in Progress([clips(1)], 1, "epoch 1/5"):
        until = time.monotonic() + 30
        while not log.read_text() and time.monotonic() < until:
            time.sleep(0.01)
    assert log.read_text().count("epoch 1/5: step 1 of 1 is not complete yet (computing)") == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar_with_the_time_left_above_which_is_printed(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for number in progress_of([1, 2, 3], "predicting", "video", 3):
        print(f"video {number}")
    assert "predicting" in terminal.getvalue() and "/3 [" in terminal.getvalue() and "<" in terminal.getvalue()
    assert capsys.readouterr().out == "video 1\nvideo 2\nvideo 3\n"
    assert list(progress_of(["one"], "predicting", "video", 1)) == ["one"]


def test_a_step_fits_into_80_columns(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    progress = Progress([clips(4)] * 3, 1000, "epoch 10/200")
    for _ in progress:
        progress.note("loss 12.345, lr 0.0012")
    lines = [line.strip() for line in terminal.getvalue().split("\r") if "loss" in line]
    assert lines and all(len(line) <= 80 for line in lines), lines


def test_a_name_that_is_no_text_can_be_logged_and_printed(tmp_path, capsys):
    setup_logging(tmp_path / "log.txt")
    logging.getLogger("slowfast_gta").warning("%s: broken", "\udcff.mp4")
    assert "\\udcff.mp4: broken" in (tmp_path / "log.txt").read_text()

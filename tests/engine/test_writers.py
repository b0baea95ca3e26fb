"""metrics.jsonl, TensorBoard, and writers of the user's own; after a crash, rows of steps to re-run are truncated."""

import json
import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from miniatures import CFG, ROOT, TINY, metrics

from slowfast_gta import load_config
from slowfast_gta.engine.writers import MetricsWriter, add_picture, build_writer

PLUGIN = """
from slowfast_gta import METRICS_WRITER_REGISTRY


@METRICS_WRITER_REGISTRY.register()
class Notebook:
    def __init__(self, output_dir, config):
        self.path = output_dir / "notebook.txt"
        self.note(f"made with BASE_LR in the config: {'BASE_LR' in config}")

    def note(self, text):
        with self.path.open("a") as file:
            file.write(text + "\\n")

    def write(self, kind, step, values):
        FAULT
        self.note(f"{kind} {step} top1 {values['top1']}")

    def close(self):
        self.note("closed")
"""


@pytest.fixture(autouse=True)
def spoken(caplog, monkeypatch):
    """Our logger does not propagate once a command has set it up."""
    monkeypatch.setattr(logging.getLogger("slowfast_gta"), "propagate", True)
    caplog.set_level(logging.INFO)


def filled(folder: Path) -> Path:
    writer = MetricsWriter(folder, tensorboard=False)
    for step in (1, 2, 3):
        writer.write("train", step, {"loss": step / 2})
    writer.write("val", 3, {"top1": 50.0})
    writer.write("train", 4, {"loss": 9})
    writer.write("test", 0, {"top1": 60.0})
    return folder / "metrics.jsonl"


@pytest.mark.parametrize(("after", "left"), [(0, []), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3, 4])])
def test_rows_of_steps_that_are_run_again_are_truncated_and_logged(tmp_path, caplog, after, left):
    path = filled(tmp_path)
    writer = MetricsWriter(tmp_path, tensorboard=False, after_step=after)
    assert [row["step"] for row in writer.rows("train")] == left
    assert len(writer.rows("val")) == (after >= 3) and len(writer.rows("test")) == 1
    number = 4 - len(left) + (after < 3)
    message = f"Truncated {number} row{'s' * (number != 1)} of {path} logged after step {after}"
    assert (message in caplog.text) == (after < 9)


def test_a_line_cut_off_by_a_kill_is_removed(tmp_path, caplog):
    path = filled(tmp_path)
    path.write_text(path.read_text() + '{"kind": "train", "ste')
    MetricsWriter(tmp_path, tensorboard=False, after_step=4)
    assert len(metrics(tmp_path)) == 6 and "Truncated 1 row of" in caplog.text


def test_tensorboard_forgets_them_too(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for after, loss in ((0, 1.0), (2, 5.0)):
        writer = MetricsWriter(tmp_path, tensorboard=True, after_step=after)
        for step in range(after + 1, 5):
            writer.write("train", step, {"loss": loss})
        writer.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1), (2, 1), (3, 5), (4, 5)]


def test_a_folder_that_somebody_removed_is_made_again(tmp_path):
    (tmp_path / "run").mkdir()
    writer = MetricsWriter(tmp_path / "run", tensorboard=False)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    (tmp_path / "run").rmdir()
    writer.write("train", 1, {"loss": 1.0})
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["step"] == 1


def own_writer(folder: Path, fault: str = "pass") -> tuple[str, list[str], str, list[str]]:
    (folder / "notebook.py").write_text(PLUGIN.replace("FAULT", fault).replace("Notebook", f"Notebook{folder.name}"))
    name = f"Notebook{folder.name}"  # a registry knows a name once, and the tests share this process
    return "PLUGINS", [str(folder / "notebook.py")], "METRICS_WRITERS", [name]


def test_a_writer_of_one_s_own_gets_all_numbers(run_tiny, tmp_path):
    code, _, err = run_tiny(*own_writer(tmp_path))
    assert code == 0, err
    lines = (tmp_path / "run" / "notebook.txt").read_text().splitlines()
    rows = [f"{row['kind']} {row['step']} top1 {row['top1']}" for row in metrics(tmp_path / "run")]
    made = "made with BASE_LR in the config: True"
    assert lines == [made, *rows[:-1], "closed", made, rows[-1], "closed"]


def test_a_failing_writer_is_reported_once_and_costs_no_training(run_tiny, tmp_path):
    code, _, err = run_tiny(*own_writer(tmp_path, "raise ConnectionError('no route')"), "TEST.ENABLE", False)
    assert code == 0, err
    assert err.count("write: ConnectionError: no route. ") == 1
    assert len(metrics(tmp_path / "run")) == 8


def test_an_unregistered_one_is_refused(run_tiny):
    code, _, err = run_tiny("METRICS_WRITERS", "[Wandb]")
    assert code == 2 and re.search(r"\bMETRICS_WRITERS: .*'Wandb'", err)


def test_the_writer_of_the_docs_works_as_printed(run_tiny, tmp_path, monkeypatch):
    """With a stand-in for Weights & Biases that knows what its calls take."""
    logged = []
    started = SimpleNamespace(log=lambda data, step: logged.append((data, step)), finish=lambda: logged.append("end"))

    def init(dir, notes, id, resume):
        return started

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    block = (ROOT / "docs" / "metrics.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "my_wandb.py").write_text(block)
    code, _, err = run_tiny("PLUGINS", [str(tmp_path / "my_wandb.py")], "METRICS_WRITERS", "[Wandb]")
    assert code == 0 and "continues without it" not in err, err
    rows = metrics(tmp_path / "run")
    assert [step for _, step in (entry for entry in logged if entry != "end")] == [row["step"] or None for row in rows]
    assert logged[0][0]["train/loss"] == rows[0]["loss"] and logged[-1] == "end"


def test_tensorboard_opens_on_loss_accuracy_and_rate_and_shows_the_config(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    cfg = load_config(CFG, [*TINY, "TENSORBOARD.ENABLE", True, "OUTPUT_DIR", str(tmp_path)])
    writer = build_writer(cfg, after_step=0)
    leading = {"loss": 1.0, "loss_recent": 1.0, "top1": 50.0, "noun_top5": 60.0, "lr": 0.1, "lr_x10": 1.0}
    counters = {"num_requested": 4, "memory_gib": 1.0, "clips_per_sec": 3.0, "grad_norm": 0.5, "steps_of_too_few": 0}
    writer.write("train", 1, leading | counters)
    writer.close()
    cv2.imwrite(str(tmp_path / "confusion.png"), np.zeros((4, 5, 3), np.uint8))
    add_picture(cfg, "confusion", tmp_path / "confusion.png")
    add_picture(cfg, "absent", tmp_path / "absent.png")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = events.Tags()
    assert {tag for tag in found["scalars"] if tag.startswith("train/")} == {f"train/{name}" for name in leading}
    assert {tag for tag in found["scalars"] if tag.startswith("train_counters/")} == {
        f"train_counters/{name}" for name in counters
    }
    assert found["images"] == ["confusion"]
    off = load_config(CFG, [*TINY, "TENSORBOARD.ENABLE", False, "OUTPUT_DIR", str(tmp_path / "off")])
    (tmp_path / "off").mkdir()
    build_writer(off, after_step=0).close()
    add_picture(off, "confusion", tmp_path / "confusion.png")
    assert not (tmp_path / "off" / "tensorboard").exists()
    (text,) = events.Tensors("config/text_summary")
    assert b"BASE_LR" in text.tensor_proto.string_val[0]
    assert "_hparams_/session_start_info" in events.summary_metadata

"""Memory of a training step, counted: near what autograd is given, half in bf16, less with ACT_CHECKPOINT."""

import json

import pytest
import torch
from miniatures import CFG, TINY

from slowfast_gta import build_model, load_config
from slowfast_gta.benchmarks.train_memory import CARDS_GB, build_train_memory
from slowfast_gta.commands import run_command
from slowfast_gta.engine.training.trial import try_sample

LARGER = [*TINY, "DATA.RESIZE", [64, 64], "DATA.TRAIN_CROP_SIZE", 64]


@pytest.mark.slow
def test_a_clip_s_share_and_the_batches_that_fit():
    cfg = load_config(CFG, LARGER)
    found, less = (
        build_train_memory(load_config(CFG, [*LARGER, "MODEL.ACT_CHECKPOINT", on]))["float32"] for on in (False, True)
    )
    side = cfg.DATA.TRAIN_CROP_SIZE
    trial = try_sample(build_model(cfg), torch.empty(1, 3, cfg.DATA.NUM_FRAMES, side, side, device="meta"))
    assert found["mb_kept_a_clip"] == pytest.approx(trial.saved_bytes / 1e6, rel=0.1, abs=0.1)
    assert 0.9 * found["mb_kept_a_clip"] < found["mb_a_clip"] < 2 * found["mb_kept_a_clip"]
    assert less["mb_kept_a_clip"] < 0.7 * found["mb_kept_a_clip"] and less["mb_a_clip"] < found["mb_a_clip"]
    weights = sum(4 * value.numel() for value in build_model(cfg).parameters()) / 1e6
    assert found["mb_constant"] > 2 * weights - 0.1, "weights and momentum at least"
    for size, count in found["batch_size"].items():
        assert int(size) in CARDS_GB
        taken = found["mb_constant"] + count * found["mb_a_clip"]
        assert taken / (1000 * int(size)) == pytest.approx(1, rel=0.1)


@pytest.mark.slow
def test_the_command(capsys):
    tiny = [str(value) for value in TINY]
    assert run_command("complexity", ["--train", "--cfg", str(CFG), "--json", *tiny]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["cfg"] == str(CFG) and set(answer["train_memory"]) == {"float32", "bfloat16"}
    kept = [answer["train_memory"][word]["mb_kept_a_clip"] for word in ("bfloat16", "float32")]
    assert kept[0] < 0.8 * kept[1]


def test_two_questions_at_once_are_refused():
    assert run_command("complexity", ["--train", "--table", "paper"]) == 2

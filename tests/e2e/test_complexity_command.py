"""tools/complexity.py and tools/benchmark.py as a user calls them."""

import json

import pytest
from miniatures import ROOT, command, run

from slowfast_gta.commands import run_command

R2D, GTA = "configs/Synthetic/R2D.yaml", "configs/Synthetic/R2D_GTA.yaml"
KEYS = {"cfg", "gmacs", "params_m", "activations_m", "num_views", "peak_memory_mb", "stages", "attention", "input"}


def test_json_is_one_document_and_nothing_else(tmp_path):
    files = [str(ROOT / R2D), str(ROOT / GTA)]
    done = run(command("--cfg", *files, "--json", tool="complexity"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer["cfg"] for answer in answers] == files
    assert all(answer.keys() >= KEYS for answer in answers)
    assert answers[1]["gmacs"] > answers[0]["gmacs"] > 0
    assert not answers[0]["attention"] and answers[1]["attention"]


def test_keys_after_the_files_count(capsys):
    assert run_command("complexity", ["--cfg", R2D, "--json"]) == 0
    eight = json.loads(capsys.readouterr().out)[0]
    assert run_command("complexity", ["--cfg", R2D, "--json", "DATA.NUM_FRAMES", str(2 * eight["input"][1])]) == 0
    assert json.loads(capsys.readouterr().out)[0]["gmacs"] == pytest.approx(2 * eight["gmacs"], rel=1e-2)


def test_people_get_a_table(capsys):
    assert run_command("complexity", ["--cfg", GTA]) == 0
    text = capsys.readouterr().out
    assert "pathway0_attention1" in text and "views of a video" in text


def test_rows_of_the_paper(capsys):
    rows = ["configs/SSv1/R2D50.yaml", "configs/SSv1/R2D50_TSM_W3.yaml"]
    assert run_command("complexity", ["--table", "paper", "--cfg", *rows, "--json"]) == 0
    r2d, w3 = json.loads(capsys.readouterr().out)
    assert r2d["paper_gmacs"] == 32.7 and abs(r2d["difference_percent"]) < 0.5 and not r2d["note"]
    assert w3["note"] and w3["difference_percent_params"] is None
    assert run_command("complexity", ["--table", "paper", "--cfg", *rows]) == 0
    assert "(1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--cfg"),
        (["--table", "paper", "--cfg", GTA], "no row"),
        (["--table", "paper", "DATA.NUM_FRAMES", "4"], "DATA.NUM_FRAMES"),
        (["--cfg", R2D, "DATA.NUM_FRAMS", "4"], "DATA.NUM_FRAMES"),
    ],
)
def test_wrong_usage_is_refused(arguments, message, capsys):
    assert run_command("complexity", arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == "" and "Traceback" not in captured.err


def test_benchmark_prints_the_documented_keys(capsys):
    small = ["RESNET.WIDTH_PER_GROUP", "8", "DATA.TRAIN_CROP_SIZE", "32", "DATA.TEST_CROP_SIZE", "32"]
    assert run_command("benchmark", ["model", "--cfg", R2D, *small, "--pairs", "1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    ratios = {"eval_fp32_speedup", "train_fp32_speedup", "gta_over_r2d_eval", "gta_over_r2d_train"}
    assert answer["pairs"] == 1 and answer["machine"] and answer.keys() >= ratios | {"eval_bf16_speedup"}
    assert all(answer[key] > 0 for key in ratios)


@pytest.mark.parametrize("arguments", [["--pairs", "0"], ["--cfg", GTA]])
def test_benchmark_refuses_wrong_input(arguments, capsys):
    assert run_command("benchmark", ["model", "--cfg", R2D, *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_stages_are_in_the_order_of_a_clip_and_add_up(capsys):
    assert run_command("complexity", ["--cfg", "configs/Kinetics/SlowFast_8x8_R101_GTA.yaml", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)[0]
    names = [stage["name"] for stage in answer["stages"]]
    assert names[:4] == ["s1", "s1_fuse", "s2", "s2_fuse"] and names[-1] == "head"
    for key in ("gmacs", "params_m", "activations_m"):
        assert sum(stage[key] for stage in answer["stages"]) == pytest.approx(answer[key], abs=2e-3)


def test_attention_is_shown_in_its_stage(capsys):
    assert run_command("complexity", ["--cfg", GTA]) == 0
    rows = [line.split()[0:3] for line in capsys.readouterr().out.splitlines()[2:]]
    where = next(number for number, row in enumerate(rows) if row[:2] == ["in", "it"])
    assert rows[where - 1][0] == "s3" and rows[where][2].startswith("s3.pathway0_attention")

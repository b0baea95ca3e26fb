"""The GPU report: every part runs, at small size; a part that fails or takes too long costs the others nothing."""

import json
import time

import pytest
from miniatures import CFG, TINY

from slowfast_gta import load_config
from slowfast_gta.benchmarks import gpu
from slowfast_gta.benchmarks.gpu import PARTS, Part, build_gpu_report, choose_parts
from slowfast_gta.commands import run_command
from slowfast_gta.errors import ConfigError

QUICK = ["machine", "float16", "memory"]


def lines_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "gpu.jsonl").read_text().splitlines()]


def test_parts_are_chosen_by_their_names():
    assert [part.name for part in choose_parts(["memory", "machine"])] == ["machine", "memory"]
    assert choose_parts([]) == list(PARTS) and sum(part.limit_sec for part in PARTS) > 300
    with pytest.raises(ConfigError, match=r"blokcs.*blocks"):
        choose_parts(["blokcs"])


def test_quick_parts_run_and_are_written(tmp_path, capsys):
    assert run_command("benchmark", ["gpu", "--json", "--output", str(tmp_path), "--only", ",".join(QUICK)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["dry_run"] is True and report["wrong"] == [] and list(report["parts"]) == QUICK
    assert [line["part"] for line in lines_of(tmp_path)] == QUICK


@pytest.mark.slow
@pytest.mark.parametrize("name", [part.name for part in PARTS if part.name not in QUICK])
def test_every_part_runs(name, tmp_path):
    report = build_gpu_report(load_config(CFG, TINY), tmp_path, [name], 500)
    assert report["wrong"] == [] and "not_run" not in report["parts"][name], report


def test_a_part_that_fails_or_takes_too_long_costs_the_others_nothing(monkeypatch, tmp_path):
    def fail(setting):
        raise KeyError("a bug")

    parts = (
        Part("slow", 0.05, lambda setting: time.sleep(600)),
        Part("broken", 50, fail),
        Part("good", 50, lambda s: {"n": 1}),
    )
    monkeypatch.setattr(gpu, "PARTS", parts)
    report = build_gpu_report(load_config(CFG, TINY), tmp_path, limit_sec=1000)
    assert "not_run" in report["parts"]["slow"]
    assert report["parts"]["good"] == {"n": 1} and report["wrong"] == ["broken: KeyError: 'a bug'"]
    assert [line["part"] for line in lines_of(tmp_path)] == ["slow", "broken", "good"]

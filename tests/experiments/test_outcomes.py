"""What finished runs leave: kept apart from the run, and refused where a default has changed since."""

import json

import pytest

from slowfast_gta import load_config
from slowfast_gta.config.load import save_config
from slowfast_gta.errors import RunError
from slowfast_gta.experiments.finished import group_runs
from slowfast_gta.experiments.outcomes import Outcome, keep_outcome, load_outcome
from slowfast_gta.experiments.plan import PlannedRun, digest_of, keys_from_cfg


@pytest.fixture
def planned(tmp_path) -> PlannedRun:
    cfg = load_config("configs/Synthetic/R2D.yaml", ["OUTPUT_DIR", str(tmp_path / "run"), "RNG_SEED", 5])
    keys = keys_from_cfg(cfg)
    return PlannedRun("R2D", 5, digest_of(keys), cfg, keys, cfg.SOLVER.BASE_LR)


def test_a_kept_result_stands_for_its_run(planned, tmp_path):
    outcome = Outcome(5, {"top1": 44.0}, planned.keys, {"gmacs": 0.1, "params_m": 0.2}, 12.5)
    assert load_outcome(planned, tmp_path / "kept") is None
    keep_outcome(planned, outcome, tmp_path / "kept")
    assert load_outcome(planned, tmp_path / "kept") == outcome
    assert str(tmp_path) not in (tmp_path / "kept" / f"{planned.digest}.json").read_text().replace("../", "")


def test_a_default_that_has_changed_since_is_reported(planned, tmp_path):
    keep_outcome(planned, Outcome(5, {"top1": 44.0}, planned.keys, {}, None), tmp_path)
    defaults = json.loads((tmp_path / "defaults.json").read_text())
    (tmp_path / "defaults.json").write_text(json.dumps(defaults | {"RESNET.DEPTH": "7", "GONE.KEY": "1"}))
    assert load_outcome(planned, tmp_path)  # the run sets the first itself; the second is no key any more
    (tmp_path / "defaults.json").write_text(json.dumps(defaults | {"EMA.DECAY": "0.5"}))
    with pytest.raises(RunError, match=r"EMA\.DECAY"):
        load_outcome(planned, tmp_path)


def made_run(folder, seed: int, *keys) -> None:
    folder.mkdir()
    cfg = load_config("configs/Synthetic/R2D.yaml", ["OUTPUT_DIR", str(folder), "RNG_SEED", seed, *keys])
    save_config(cfg, folder / "config.yaml")
    (folder / "results.json").write_text(json.dumps({"top1": 50.0 + seed}))


def test_finished_runs_are_rows_by_their_configs(tmp_path):
    for seed in (1, 2):
        made_run(tmp_path / f"plain_seed{seed}", seed)
        made_run(tmp_path / f"tsm_{seed}", seed, "TSM.ENABLE", True)
    rows = group_runs([tmp_path / name for name in ("plain_seed1", "tsm_1", "plain_seed2", "tsm_2")])
    assert {name: sorted(found) for name, found in rows.items()} == {"plain_seed": [1, 2], "tsm": [1, 2]}
    made_run(tmp_path / "again", 2)
    with pytest.raises(RunError, match="one config with one seed"):
        group_runs([tmp_path / "plain_seed2", tmp_path / "again"])
    with pytest.raises(RunError, match=r"no readable results\.json"):
        group_runs([tmp_path])

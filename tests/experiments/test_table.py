"""Tables of experiments: what they may say, and that every fault has its file and line."""

import pytest

from slowfast_gta.errors import ConfigError
from slowfast_gta.experiments.plan import build_plan, keys_from_cfg, unique_runs
from slowfast_gta.experiments.table import build_row, load_table

GOOD = """TITLE: Two rows
CFG: configs/Synthetic/R2D.yaml
SEEDS: [4, 7]
SET: {SOLVER: {MAX_EPOCH: 2}}
ROWS:
  - {NAME: R2D, PAPER: 17}
  - NAME: GTA
    SET: {ATTENTION: {NAME: GTA, LOCATION: [[[]], [[1]], [[]], [[]]]}, SOLVER.MAX_EPOCH: 3}
CLAIMS: [[GTA, R2D]]
"""


@pytest.fixture
def table_of(tmp_path):
    def write(text: str):
        path = tmp_path / "table.yaml"
        path.write_text(text)
        return load_table(path)

    return write


def test_a_table_is_parsed_as_written(table_of):
    table = table_of(GOOD)
    assert (table.title, table.seeds, table.metrics, table.reference) == ("Two rows", (4, 7), ("top1",), "R2D")
    assert [row.paper for row in table.rows] == [17.0, None] and table.claims == (("GTA", "R2D"),)
    plain, gta = (build_row(row) for row in table.rows)
    assert (plain.SOLVER.MAX_EPOCH, gta.SOLVER.MAX_EPOCH, gta.ATTENTION.NAME) == (2, 3, "GTA")


@pytest.mark.parametrize(
    "old, new, line",
    [
        ("SEEDS: [4, 7]", "SEEDS: [4, 4]", 3),
        ("SEEDS: [4, 7]", "SEEDS: 0", 3),
        ("SEEDS: [4, 7]", "SEEDS: True", 3),
        ("SEEDS: [4, 7]", "SEED: 3", 3),
        ("SEEDS: [4, 7]", "SEEDS: !!python/name:os.system", 3),
        ("SEEDS: [4, 7]", "METRICS: []", 3),
        ("TITLE: Two rows", "CFG: again.yaml", 2),
        ("SET: {SOLVER: {MAX_EPOCH: 2}}", "SET: [1]", 4),
        ("PAPER: 17", "PAPER: many", 6),
        ("PAPER: 17", "PAPERS: 17", 6),
        ("NAME: R2D,", "NAME: GTA,", 7),
        ("{NAME: R2D, PAPER: 17}", "R2D", 6),
        ("{NAME: R2D,", "{CFG: nowhere.yaml, NAME: R2D,", 6),
        ("[[GTA, R2D]]", "[[GTA, TA]]", 9),
        ("[[GTA, R2D]]", "[GTA]", 9),
        ("ROWS:", "REFERENCE: TA\nROWS:", 5),
        ("ROWS:", "BLIND: [TA]\nROWS:", 5),
        ("ROWS:", "INTERVALS: z\nROWS:", 5),
        ("ROWS:", "CHOOSING_SEEDS: [1, 1]\nROWS:", 5),
        ("[4, 7]", "[4, 7", 3),
    ],
)
def test_a_fault_has_its_line(table_of, old, new, line):
    with pytest.raises(ConfigError) as fault:
        table_of(GOOD.replace(old, new))
    at = str(fault.value).split(": ")[0]
    assert at.endswith(f"table.yaml:{line}") or (new == "[4, 7" and "table.yaml:" in at)


def test_no_rows_and_no_table(table_of):
    for text in ("ROWS: []", "CFG: a.yaml", "[]", "", "ROWS: 3"):
        with pytest.raises(ConfigError, match=r"table\.yaml"):
            table_of(text)


def test_a_row_that_cannot_be_run_is_reported_with_its_line(table_of, tmp_path):
    with pytest.raises(ConfigError, match=r"table\.yaml:7: row 'GTA'(.|\n)*ATTENTION\.NAME"):
        build_plan(table_of(GOOD.replace("NAME: GTA, LOC", "NAME: GTT, LOC")), [1], tmp_path)


def test_each_config_and_seed_is_one_run_however_many_tables_name_it(table_of, tmp_path):
    first = build_plan(table_of(GOOD), [1, 2], tmp_path)
    renamed = build_plan(
        table_of(GOOD.replace("NAME: R2D", "NAME: Plain").replace("[[GTA, R2D]]", "[]")), [1], tmp_path
    )
    assert len({run.folder for run in first}) == 4
    assert {run.digest for run in renamed} < {run.digest for run in first}
    assert [run.seed for run in unique_runs([first, renamed])] == [1, 1, 2, 2]


def test_where_a_run_writes_is_no_part_of_it(table_of):
    cfg = build_row(table_of(GOOD).rows[0])
    other = cfg.clone()
    other.defrost()
    other.OUTPUT_DIR, other.TENSORBOARD.ENABLE = "elsewhere", False
    assert keys_from_cfg(other) == keys_from_cfg(cfg)
    other.SOLVER.BASE_LR = 0.5
    assert keys_from_cfg(other) != keys_from_cfg(cfg)


def test_the_same_row_twice_is_refused(table_of, tmp_path):
    text = GOOD.replace("SOLVER.MAX_EPOCH: 3}", "SOLVER.MAX_EPOCH: 3}\n  - {NAME: Again}")
    with pytest.raises(ConfigError, match=r"table\.yaml:9: row 'Again' .*'R2D'"):
        build_plan(table_of(text), [1], tmp_path)

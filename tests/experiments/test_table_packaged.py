"""The packaged tables can be read; every row builds, at its full size, without memory: shapes only."""

import pytest
import torch
from miniatures import ROOT

from slowfast_gta import build_model
from slowfast_gta.experiments.plan import digest_of, keys_from_cfg
from slowfast_gta.experiments.table import build_row, load_table
from slowfast_gta.models.build import inserted_blocks

TABLES = sorted(path for path in (ROOT / "configs" / "Evidence").glob("*.yaml") if path.stem != "Base")
BLIND: dict[str, bool] = {}  # by digest, since several tables have a row: whether it is blind to order by construction


@pytest.mark.slow  # a minute for all rows
@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_its_rows_build_and_run(path):
    table = load_table(path)
    digests = set()
    for row in table.rows:
        cfg = build_row(row)
        digest = digest_of(keys_from_cfg(cfg))
        assert digest not in digests, f"{row.name} is another row again"
        digests.add(digest)
        if digest not in BLIND:
            with torch.device("meta"):
                clip = torch.empty(2, 3, cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TRAIN_CROP_SIZE)
                network = build_model(cfg)
                assert network(clip).shape == (2, cfg.MODEL.NUM_CLASSES), row.name
            blocks = inserted_blocks(network).values()
            no_motion = (
                cfg.MODEL.ARCH in ("2d", "c2d") and not cfg.TSM.ENABLE
            )  # c2d pools pairs, which a reversal keeps
            BLIND[digest] = no_motion and all(getattr(block, "time_permutation_equivariant", False) for block in blocks)
        assert (row.name in table.blind) is BLIND[digest], row.name
        assert (cfg.ATTENTION.NAME != "none") == any(word in str(row.settings) for word in ("ATTENTION",)), row.name


def test_make_evidence_has_every_table():
    (listed,) = (
        line.split()[2:] for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("EVIDENCE =")
    )
    assert sorted(listed) == [path.stem for path in TABLES]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_it_is_a_table_and_its_header_names_its_own_command(path):
    table = load_table(path)
    assert len(table.seeds) >= 3 and len(table.metrics) == 3 and len(table.rows) >= 4
    assert f"python tools/compare.py {path.relative_to(ROOT)}" in path.read_text().splitlines()[1]

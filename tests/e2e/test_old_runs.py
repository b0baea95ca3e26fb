"""Runs that earlier code was stopped in go on as if it were still there: the same weights, scores and metrics.

On a machine like the fixture's the end is the fixture's, bit for bit. On another one it is what the old code itself,
out of this repository's history, makes of the same run there; without that history, the fixture's but for rounding.
"""

import json

import numpy as np
import pytest
from old_runs import CASES, FIXTURE, Case, complete, lay_out, machine, read_end, unpack_old_code

OWN = json.loads((FIXTURE / "machine.json").read_text())
LEAST = 2e-4  # how far weights and scores may be from the fixture's; other kernels come to 9e-5 in float16, 2e-5 else


@pytest.fixture(scope="module")
def old_code(tmp_path_factory):
    return unpack_old_code(tmp_path_factory.mktemp("code"))


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request) -> Case:
    return request.param


def assert_same_bits(found, digests: dict, rows: list[dict], top1: float) -> None:
    known = [{key: row[key] for key in old} for row, old in zip(found.rows, rows, strict=True)]  # rows may grow
    assert known == rows
    assert found.digests() == digests
    assert found.top1 == top1


def assert_near(found, case: Case, rows: list[dict]) -> None:
    assert [(row["kind"], row["step"]) for row in found.rows] == [(row["kind"], row["step"]) for row in rows]
    losses = [[row["loss"] for row in some if row["kind"] == "train"] for some in (found.rows, rows)]
    np.testing.assert_allclose(*losses, atol=LEAST, rtol=LEAST)
    with np.load(FIXTURE / case.name / "end.npz") as wanted:
        for name, vector in found.vectors().items():
            np.testing.assert_allclose(vector, wanted[name], atol=LEAST, rtol=LEAST, err_msg=name)


def check_end(case: Case, folder, old_code, tmp_path) -> None:
    """How the run in `folder` ended; what the comparison was with is in the test's output."""
    found, wanted = read_end(case, folder), json.loads((FIXTURE / case.name / "end.json").read_text())
    if machine() == OWN:
        assert_same_bits(found, wanted["digests"], wanted["metrics"], wanted["top1"])
    elif old_code is not None:
        print(f"This machine is {machine()}; the fixture's {OWN}. Compared with what the old code does here.")
        theirs = lay_out(case, tmp_path / "theirs")
        complete(case, theirs, case.cfg, old_code)
        old = read_end(case, theirs)
        assert_same_bits(found, old.digests(), old.rows, old.top1)
    else:
        print(f"This machine is {machine()}; the fixture's {OWN}. Compared but for rounding.")
        assert_near(found, case, wanted["metrics"])


def test_it_resumes_to_the_same_end(case, tmp_path, old_code):
    folder = lay_out(case, tmp_path / "run")
    checkpoints = {path: path.read_bytes() for path in folder.rglob("*.pyth")}
    rows = {output: (folder / output / "metrics.jsonl").read_text().splitlines() for output in case.outputs}
    complete(case, folder, case.cfg)
    # It went on, rather than begin anew: lines that were there have the speeds of the day when they were written.
    for output, before in rows.items():
        now = (folder / output / "metrics.jsonl").read_text().splitlines()
        assert now[:2] == before[:2] and len(now) >= len(before)
    for path, content in checkpoints.items():
        assert not path.exists() or path.read_bytes() == content, "a checkpoint was written again"
    check_end(case, folder, old_code, tmp_path)


@pytest.mark.parametrize("name", ["sgd_gta", *(pytest.param(name, marks=pytest.mark.slow) for name in list(CASES)[1:])])
def test_started_again_it_ends_with_the_same_files(name, tmp_path, old_code):
    """First weights, order of videos, crops, dropout: all of it as it was."""
    folder = lay_out(CASES[name], tmp_path / "run", stopped=False)
    complete(CASES[name], folder, "run.yaml")
    check_end(CASES[name], folder, old_code, tmp_path)

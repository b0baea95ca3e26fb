"""Points, cells and names."""

import pytest
import torch

from slowfast_gta.errors import ConfigError
from slowfast_gta.inference.explaining.shown import (
    Cell,
    Query,
    cell_of,
    frames_of_steps,
    parse_query,
    pathway_of,
    short_name,
    strongest_point,
)


def test_points_of_a_clip():
    assert parse_query("5, 0,3", 4, (8, 6)) == Query(5, 0, 3)
    for wrong in ("6,0,0", "0,8,0", "0,0,4", "-1,0,0", "1,2", "a,b,c", "1,2,3,4", "1.5,2,3", ""):
        with pytest.raises(ConfigError, match="--query"):
            parse_query(wrong, 4, (8, 6))


def test_cells_of_a_block():
    """A map of 2 x 3 of a picture of 8 x 6; steps that begin at frames 0 and 2."""
    assert cell_of(Query(5, 3, 1), (0, 2), (2, 3), (8, 6)) == Cell(0, 0, 2)
    assert cell_of(Query(0, 4, 3), (0, 2), (2, 3), (8, 6)) == Cell(1, 1, 0)
    assert cell_of(Query(5, 7, 0), (1, 2), (2, 3), (8, 6)) == Cell(0, 1, 2), "before the first step"


def test_the_point_of_the_largest_activation():
    x = torch.zeros(1, 3, 2, 2, 3)
    x[0, :, 1, 1, 2] = torch.tensor([2.0, -2.0, 1.0])
    x[0, 0, 0, 0, 0] = 2.9
    point = strongest_point(x, (0, 2), (8, 6))
    assert point == Query(5, 6, 2) and cell_of(point, (0, 2), (2, 3), (8, 6)) == Cell(1, 1, 2)


def test_names_and_pathways():
    assert [
        short_name(name) for name in ("s3.pathway0_attention1", "s4.pathway0_nonlocal2", "s5.pathway1_attention0")
    ] == [
        "s3.1",
        "s4.nonlocal2",
        "s5.pathway1_attention0",
    ]
    assert [pathway_of(name) for name in ("s3.pathway0_attention1", "s5.pathway1_attention0", "own")] == [0, 1, 0]
    assert frames_of_steps(torch.nn.Module(), 0, 2, 8) == (0, 4)

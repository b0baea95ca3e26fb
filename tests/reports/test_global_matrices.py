"""The T x T matrices of a network: root mean squares, which do not cancel as means do."""

import numpy as np
import pytest
import torch
from miniatures import CFG, TINY

from slowfast_gta import build_model, load_config
from slowfast_gta.reports.global_matrices import draw_global_matrices, root_mean_square, temporal_matrices

LOCATION = [[[]], [[0]], [[]], [[]]]


def test_the_matrices_of_a_network():
    cfg = load_config(CFG, [*TINY, "ATTENTION.NAME", "GTA", "ATTENTION.LOCATION", LOCATION])
    model = build_model(cfg)
    found = temporal_matrices(model)
    assert list(found) == [f"s3.pathway0_attention0.{part}.mix" for part in ("pixel", "region")]
    weight = model.s3.pathway0_attention0.pixel.mix.weight.detach().double()
    mean_square = sum(float(weight[group, head, 1, 2]) ** 2 for group in range(8) for head in range(8)) / 64
    values = root_mean_square(found["s3.pathway0_attention0.pixel.mix"])
    assert values[1, 2] == pytest.approx(mean_square**0.5, rel=1e-12)
    before = {name: value.copy() for name, value in found.items()}
    with torch.no_grad():
        model.s3.pathway0_attention0.pixel.mix.weight += 0.5
    figure = draw_global_matrices(model, before)
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images and axes.get_xlabel()]
    assert len(drawn) == 4 and np.allclose(drawn[2], 0.5, atol=1e-6) and np.all(drawn[3] == 0)
    with pytest.raises(ValueError, match="no GTA block"):
        draw_global_matrices(build_model(load_config(CFG, TINY)))

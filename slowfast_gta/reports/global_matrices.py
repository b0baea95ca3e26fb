"""The learned T x T matrices of GTA, drawn so that they tell something.

The mean over groups and heads, which the paper's figure 15 shows, cancels: the matrices of the G x G pairs have signs
of their own. What is drawn here is their root mean square, and beside it that of their change since training began.
"""

from collections.abc import Mapping

import numpy as np
from torch import nn

from slowfast_gta.models.attention.gta import TemporalMix
from slowfast_gta.reports.style import Figure, colour_bar, draw_matrix, new_figure


def temporal_matrices(model: nn.Module) -> dict[str, np.ndarray]:
    """{where: every matrix of it, (heads * groups, T, T), rows are frames of the output}; none without GTA."""
    return {
        name: module.weight.detach().flatten(0, -3).double().cpu().numpy()
        for name, module in model.named_modules()
        if isinstance(module, TemporalMix)
    }


def root_mean_square(matrices: np.ndarray) -> np.ndarray:
    """(heads * groups, T, T) -> (T, T)."""
    return np.sqrt((matrices**2).mean(0))


def draw_global_matrices(model: nn.Module, initial: Mapping[str, np.ndarray] | None = None) -> Figure:
    """The temporal matrices of `model`, a column each: their root mean square and, with `initial` (as
    `temporal_matrices` gives them, from before training), that of the change. Raises ValueError where there is none."""
    trained = temporal_matrices(model)
    if not trained:
        raise ValueError("The network has no GTA block, and so no global temporal matrix to draw.")
    rows = [("root mean square over heads", {name: root_mean_square(value) for name, value in trained.items()})]
    if initial:
        changes = {name: root_mean_square(trained[name] - initial[name]) for name in trained}
        rows.append(("of the change since the start", changes))
    with new_figure(0.6 + 3.2 * len(trained), 3.0 * len(rows)) as figure:
        grid = figure.subplots(len(rows), len(trained), squeeze=False)
        for line, (what, values) in zip(grid, rows, strict=True):
            for axes, (name, matrix) in zip(line, values.items(), strict=True):
                frames = [str(t + 1) for t in range(len(matrix))]
                drawn = draw_matrix(axes, matrix, frames, frames, numbers="{:.2f}" if len(matrix) <= 8 else "")
                axes.set_title(name.replace("pathway0_", "").removesuffix(".mix"))
                axes.set_xlabel("frame of the input")
                axes.set_ylabel("frame of the output")
                colour_bar(figure, drawn, axes, what)
    return figure

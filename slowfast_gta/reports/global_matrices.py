"""The learned T x T matrices of GTA as pictures (the paper's figure 15)."""

import numpy as np
from torch import nn

from slowfast_gta.models.attention.gta import TemporalMix
from slowfast_gta.reports.heatmap import beside, draw_heatmap


def draw_global_matrices(model: nn.Module) -> np.ndarray:
    """All temporal matrices of `model` in one picture (H, W, 3): rows are frames of the output, columns of the input.

    Each is the mean over groups and heads, in absolute value, as in the paper. Raises ValueError where there is none.
    """
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, TemporalMix)]
    if not found:
        raise ValueError("The network has no GTA block, and so no global temporal matrix to draw.")
    pictures = []
    for name, mix in found:
        matrix = mix.matrix().abs().float().cpu().numpy()
        frames = [str(t + 1) for t in range(len(matrix))]
        where = name.replace("pathway0_", "").removesuffix(".mix").replace(".", " ")
        pictures.append(draw_heatmap(matrix, where, frames, frames, cell_px=28, numbers=True))
    return beside(pictures, "Rows: frame of the output; columns: frame of the input; |mean over groups and heads|")

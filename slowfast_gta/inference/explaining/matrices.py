"""The learned T x T matrices of GTA, and what they do to a clip that runs backwards.

A matrix is the same for every video. Its mean over heads cancels; what is drawn: each head with its sign, the root mean
square over heads, the change since the start of training, and the part that tells forwards from backwards.

Legend: J heads (all G x G pairs of heads and groups), T frames, P the reversal of frames.
"""

from collections.abc import Mapping

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.errors import counted
from slowfast_gta.inference.explaining.blocks import as_array
from slowfast_gta.inference.explaining.shown import Shown
from slowfast_gta.models import build_model
from slowfast_gta.models.attention.gta import GTA, TemporalMix

_SIGMA = 6.0
"""Standard deviations of chance from which a likeness is believed."""


def shown_matrices(block: GTA, x: Tensor, initial: Mapping[str, np.ndarray]) -> list[Shown]:
    """Of Pixel and Region GTA given x (1, C, T, H, W). initial: {"pixel", "region"} (J, T, T) of the start of training;
    what is not there is not drawn."""
    if block.spatial is not None:
        x = block.spatial(x)
    shown: list[Shown] = []
    for name, part in (("pixel", block.pixel), ("region", block.region)):
        if part is not None:
            shown += _of_part(name, part, x, initial.get(name))
    return shown


def _of_part(name: str, part: nn.Module, x: Tensor, initial: np.ndarray | None) -> list[Shown]:
    matrices = all_matrices(part.get_submodule("mix"))
    num_heads = counted(len(matrices), "head")
    who, over = f"{name.capitalize()} GTA's matrix", f"root mean square over {num_heads}"

    def rms(kind: str, what: str, values: np.ndarray) -> Shown:
        return Shown(f"{name}_{kind}", "matrix", f"{who}: {what}", _rms(values)[None], "root mean square", ("",))

    heads = tuple(f"{number + 1}" for number in range(len(matrices)))
    signed = f"{who}: {num_heads}, each with its sign"
    shown = [rms("matrix", over, matrices), Shown(f"{name}_heads", "matrix", signed, matrices, "value", heads, True)]
    if initial is not None:
        change = matrices - initial
        share = 100 * np.linalg.norm(change) / np.linalg.norm(initial)
        shown.append(rms("change", f"change since training began, {over}; {share:.0f} % of its length then", change))
    odd = odd_part(matrices)
    share = 100 * np.linalg.norm(odd) / np.linalg.norm(matrices)
    shown.append(rms("direction", f"what a reversed video turns over, (M - PMP) / 2, {over}; {share:.0f} % of M", odd))
    what = f"{name.capitalize()} GTA: how different its output is for this video backwards, frame by frame; 0: alike"
    values = reversed_response(part, x)[None]
    return [*shown, Shown(f"{name}_reversed", "weights", what, values, "relative difference", ("difference",))]


def all_matrices(mix: nn.Module) -> np.ndarray:
    """float64 (J, T, T): to, from."""
    return as_array(mix.get_parameter("weight").flatten(0, -3).double())


def _rms(matrices: np.ndarray) -> np.ndarray:
    return np.sqrt((matrices**2).mean(0))


def odd_part(matrices: np.ndarray) -> np.ndarray:
    """(M - P M P) / 2: 0 where a matrix treats a reversed clip as the clip, reversed."""
    return (matrices - matrices[:, ::-1, ::-1]) / 2


def reversed_response(part: nn.Module, x: Tensor) -> np.ndarray:
    """(T,): for each frame, |part(x) - P part(P x)| over the mean of both norms, but for the constant that it adds.

    0 where the order of frames makes no difference, 2 at most (the opposite).
    """
    constant = part(torch.zeros_like(x))
    forwards = part(x) - constant
    backwards = part(x.flip(2)).flip(2) - constant

    def norms(y: Tensor) -> np.ndarray:
        return as_array(torch.linalg.vector_norm(y[0].double(), dim=(0, 2, 3)))

    return norms(forwards - backwards) / np.maximum((norms(forwards) + norms(backwards)) / 2, 1e-30)


# ---------------------------------------------------------------------------------------------- the start of training


def build_initial_network(cfg: CfgNode) -> nn.Module:
    """The network as `cfg`'s training began with it, before any weights were loaded: RNG_SEED draws it again."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.RNG_SEED)  # as engine/training/learner.py
        return build_model(cfg)


def initial_matrices(
    trained: nn.Module, start: nn.Module, source: str = "RNG_SEED"
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, list[str]]]:
    """({block: {"pixel", "region": (J, T, T)}}, {block: why not}): the matrices of `start`, where they can be told to
    be those that `trained` was trained from, since they are more alike than chance allows."""
    matrices: dict[str, dict[str, np.ndarray]] = {}
    refused: dict[str, list[str]] = {}
    parts = dict(start.named_modules())
    for name, module in trained.named_modules():
        if not isinstance(module, TemporalMix):
            continue
        block, part, _ = name.rsplit(".", 2)
        first, now = all_matrices(parts[name]), all_matrices(module)
        likeness = float(np.corrcoef(first.ravel(), now.ravel())[0, 1])
        if likeness > min(_SIGMA / np.sqrt(first.size), 0.9):
            matrices.setdefault(block, {})[part] = first
        else:
            refused.setdefault(block, []).append(
                f"the change of {part} GTA's matrix since training began: its initial value is not known, and "
                f"that of {source} is another one (correlation {likeness:.2f}). --initial FILE names weights "
                "from before training"
            )
    return matrices, refused

"""What is laid over a video's frames: Grad-CAM, or where in its frames a network's last attention block looks.

A block whose positions attend to each other (NL, SA, and the SA that DNL, TAPE and GTA begin with) is shown by what
each position receives: the mean of the weights (their absolute values) over all positions that attend. Of the others,
the first map that explain draws for no point in particular: GCNet's context, the masks of CBAM and W3, the group, node
or region that tells positions apart most of CGNL, GloRe and a GTA without SA.

Legend: C channel, T step, H W space, N positions that attend, M positions attended to, S crop size.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial, singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast_gta.errors import ConfigError
from slowfast_gta.inference.explaining.blocks import as_array, shown_of, unpooled
from slowfast_gta.inference.explaining.gradcam import grad_cam
from slowfast_gta.inference.explaining.shown import Cell, short_name
from slowfast_gta.inference.network import EvalNetwork, attention_blocks, watched
from slowfast_gta.models.attention import DNL, GTA, NL, SA, TAPE

OVERLAYS = ("none", "gradcam", "attention")


@singledispatch
def attended(block: Any, x: Tensor) -> np.ndarray | None:
    """(T, H, W), none negative: how much `block`, given x (1, C, T, H, W), looks at each position; None where it tells
    no positions of a frame apart."""
    for shown in shown_of(block, x, Cell(0, 0, 0)):
        if shown.form == "maps" and not shown.of_point:
            return np.abs(np.nan_to_num(shown.values[0]))
    return None


@attended.register
def _(block: SA, x: Tensor) -> np.ndarray:
    return _received(as_array(block.weights(x))[0], block.pool, x)


@attended.register
def _(block: DNL, x: Tensor) -> np.ndarray:
    return _received(as_array(block.attention_maps(x)["spatial"])[0], block.spatial.pool, x)


@attended.register
def _(block: TAPE, x: Tensor) -> np.ndarray | None:
    return None if block.spatial is None else attended(block.spatial, x)


@attended.register
def _(block: GTA, x: Tensor) -> np.ndarray | None:
    return attended.dispatch(object)(block, x) if block.spatial is None else attended(block.spatial, x)


@attended.register
def _(block: NL, x: Tensor) -> np.ndarray:
    """Each group of frames attends to itself."""
    kernel = (1, 1, 1) if block.pool == "none" else block.pool_size
    groups = []
    for part in x.chunk(block.group, dim=2):
        weights = np.abs(as_array(block.attention_maps(part)["spacetime"])[0]).mean(0)
        groups.append(unpooled(weights, tuple(part.shape[2:]), kernel))
    return np.nan_to_num(np.concatenate(groups))


def _received(weights: np.ndarray, pool: str, x: Tensor) -> np.ndarray:
    """weights (T, N, M) -> (T, H, W)."""
    by = 1 if pool == "none" else 2
    return np.nan_to_num(unpooled(weights.mean(1), tuple(x.shape[2:]), (1, by, by)))


def above_even(values: np.ndarray) -> np.ndarray:
    """(H, W), none negative -> 0 to 1: 0 for the mean and less, 1 for the largest, if that is twice the mean or more:
    a block that looks everywhere alike shows nothing."""
    above = values / max(float(values.mean()), 1e-12) - 1
    return np.clip(above / max(1.0, float(above.max())), 0, 1)


@dataclass(frozen=True)
class Overlay:
    """`draw`: the clip uint8 (T, S, S, 3) and the most likely class -> (H', W'), 0 to 1, of the clip's last step."""

    what: str
    draw: Callable[[np.ndarray, int], np.ndarray]


def build_overlay(name: str, network: EvalNetwork, num_frames: int, side: int) -> Overlay | None:
    """That of --overlay; None for none. num_frames, side: T and S of its clips.

    Raises ConfigError for another name, and where no block of the network has a map over space.
    """
    if name not in OVERLAYS:
        raise ConfigError(f"--overlay is {name}; it must be one of {', '.join(OVERLAYS)}.")
    if name == "none":
        return None
    if name == "gradcam":
        return Overlay("Grad-CAM of the most likely class", partial(_grad_cam, network))
    blocks = _blocks_with_maps(network, num_frames, side)
    if not blocks:
        there = ", ".join(sorted({type(block).__name__ for _, block in attention_blocks(network.model)}))
        why = f"its {there} does not distinguish the positions of a frame" if there else "it has no attention block"
        raise ConfigError(f"--overlay attention: {network.name} has no attention over space: {why}. Use gradcam.")
    block = network.model.get_submodule(blocks[-1])
    return Overlay(
        f"attention of {short_name(blocks[-1])} ({type(block).__name__})", partial(_attention, network, block)
    )


def _grad_cam(network: EvalNetwork, clip: np.ndarray, label: int) -> np.ndarray:
    values = grad_cam(network.model, network.inputs(clip), label)[0]
    return (values / values.max().clamp_min(1e-12))[-1].float().cpu().numpy()


@torch.inference_mode()
def _attention(network: EvalNetwork, block: Any, clip: np.ndarray, label: int) -> np.ndarray:
    return above_even(_attended_by(network, [("", block)], clip)[""][-1])


@torch.inference_mode()
def _blocks_with_maps(network: EvalNetwork, num_frames: int, side: int) -> list[str]:
    """Their names, in the order of the calls; found out with an empty clip, since a block may be anyone's."""
    empty = np.zeros((num_frames, side, side, 3), np.uint8)
    return list(_attended_by(network, attention_blocks(network.model), empty))


def _attended_by(network: EvalNetwork, blocks: Iterable[tuple[str, Any]], clip: np.ndarray) -> dict[str, np.ndarray]:
    """{name: (T, H, W)} of those of `blocks` that have a map, of a clip uint8 (T, S, S, 3)."""
    maps: dict[str, np.ndarray] = {}

    def look(name: str, block: Any, x: Any) -> None:
        if isinstance(x, Tensor) and x.ndim == 5 and (values := attended(block, x)) is not None:
            maps[name] = values

    with watched(blocks, look):
        network.model(network.inputs(clip))
    return maps

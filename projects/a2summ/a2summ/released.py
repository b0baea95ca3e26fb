"""The authors' checkpoints (github.com/boheumd/A2Summ), read into our network.

Three slips of the release change what a checkpoint means, and come with it: its layers are one, its segment rows are
off by one, and its intra-sample loss uses the learned scale without exp (that loss has no weights in a checkpoint).
"""

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from a2summ.model import A2Summ
from slowfast_gta.errors import WeightsError
from slowfast_gta.models.weights.read import load_torch_file

# The beginning of a name in the release -> in ours, layers and heads apart.
_NAMES = {
    "proj_fc_video.0.": "project_video.",
    "proj_fc_text.0.": "project_text.",
    "pos_embed_video": "position_video",
    "pos_embed_text": "position_text",
    "pos_embed_segment": "segments",
    "type_video": "type_video",
    "type_text": "type_text",
    "cls_token_video": "cls_video",
    "cls_token_text": "cls_text",
    "norm_video.": "head_video.norm.",
    "norm_text.": "head_text.norm.",
}
_IN_A_LAYER = {
    "norm1_fused.": "norm.",
    "attn_fusion.q.": "attention.query.",
    "attn_fusion.k.": "attention.key.",
    "attn_fusion.v.": "attention.value.",
    "attn_fusion.m.": "attention.out.",
    "norm2_video.": "norm_video.",
    "norm2_text.": "norm_text.",
    "ffn_video.fc1.": "ffn_video.0.",
    "ffn_video.fc2.": "ffn_video.3.",
    "ffn_text.fc1.": "ffn_text.0.",
    "ffn_text.fc2.": "ffn_text.3.",
}
_LAYER = re.compile(r"multiway_list\.(\d+)\.(.+)")
_HEAD = re.compile(r"fc_(video|text)(?:_(cls|loc|ctr)\.|\.(0|3)\.)(weight|bias)")
_SCORES = {"cls": "score", "loc": "offsets", "ctr": "centerness"}


def load_released(path: str | Path) -> A2Summ:
    """The network of one of the authors' files, in eval mode, with the release's slips. Raises WeightsError.

    Sizes, head and alignment are read off the weights. Dropout is the release's for none: it is off in eval mode.
    """
    state = read_released_state(Path(path))
    return model_of(state, str(path))


def read_released_state(path: Path) -> dict[str, Tensor]:
    """The state dict in one of the authors' files, under their names. Raises WeightsError."""
    # beside the weights stand F1 scores, as NumPy's numbers
    scalar = np.float64(0).__reduce__()[0]
    numbers = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    with torch.serialization.safe_globals([*numbers, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType]):
        state = load_torch_file(path).get("model_state_dict")
    if not isinstance(state, dict):
        raise WeightsError(f"{path}: it has no model_state_dict. Expected: one of the authors' .pt files.")
    return state


def model_of(state: dict[str, Tensor], where: str) -> A2Summ:
    """The network whose state dict in the release is `state`; `where` is for messages. Raises WeightsError."""
    layers, own = _split_layers(state, where)
    renamed = {_renamed(name, own, where): value for name, value in own.items()}
    try:
        tables = ("position_video", "position_text", "segments", "type_video", "type_text", "cls_video", "cls_text")
        for name in tables:
            if name in renamed:
                renamed[name] = (
                    renamed[name].flatten(0, -2) if name.startswith(("pos", "seg")) else renamed[name].ravel()
                )
        segments = renamed.get("segments")
        dim, dim_video = renamed["project_video.weight"].shape
        model = A2Summ(
            dim_video,
            renamed["project_text.weight"].shape[1],
            dim,
            len(layers),
            "anchor_free" if "head_video.offsets.weight" in renamed else "logit",
            use_mask=segments is not None,
            use_segments=segments is not None,
            max_tokens=len(renamed["position_video"]),
            max_segments=0 if segments is None else len(renamed["segments"]),
            shared_layers=True,
            segment_shift=segments is not None,
        )
        model.load_state_dict({**renamed, **{f"layers.0.{name}": value for name, value in layers[0].items()}})
    except (KeyError, RuntimeError, ValueError, IndexError) as fault:
        raise WeightsError(f"{where}: these are not A2Summ's weights as its authors save them: {fault}") from None
    return model.eval()


def _split_layers(state: dict[str, Tensor], where: str) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """The layers, each {our name: value}, and all other entries under their own names."""
    layers: dict[int, dict[str, Tensor]] = {}
    others = {}
    for name, value in state.items():
        match = _LAYER.fullmatch(name)
        if match is None:
            others[name] = value
            continue
        begin = next((begin for begin in _IN_A_LAYER if match[2].startswith(begin)), None)
        if begin is None:
            raise WeightsError(f"{where}: {name} is not a weight of the authors' network.")
        layers.setdefault(int(match[1]), {})[_IN_A_LAYER[begin] + match[2].removeprefix(begin)] = value
    if sorted(layers) != list(range(len(layers))) or not layers:
        raise WeightsError(f"{where}: it must have the layers multiway_list.0, 1, ..., but has {sorted(layers)}.")
    for index in range(1, len(layers)):
        same = layers[index].keys() == layers[0].keys()
        if not same or not all(torch.equal(layers[index][name], value) for name, value in layers[0].items()):
            raise WeightsError(
                f"{where}: layer {index} differs from layer 0. In the authors' files all layers share their "
                "weights; this file is from other code."
            )
    return [layers[index] for index in range(len(layers))], others


def _renamed(name: str, state: dict[str, Tensor], where: str) -> str:
    """The name of an entry outside the layers in our state dict."""
    match = _HEAD.fullmatch(name)
    if match is not None:
        modality, score, index, kind = match.groups()
        anchor_free = f"fc_{modality}_cls.weight" in state
        if score is None:
            score = "hidden.0" if index == "0" else "hidden.3" if anchor_free else "score"
        return f"head_{modality}.{_SCORES.get(score, score)}.{kind}"
    begin = next((begin for begin in _NAMES if name.startswith(begin)), None)
    if begin is None:
        raise WeightsError(f"{where}: {name} is not a weight of the authors' network.")
    return _NAMES[begin] + name.removeprefix(begin)

"""Reading tensors out of other people's files, without executing anything that is in them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slowfast_gta.errors import WeightsError

# Dictionaries in which trainers wrap their state dict, the innermost name first.
_WRAPPERS = ("model_state", "state_dict", "model")


@dataclass(frozen=True)
class Source:
    """A file's tensors by name, and what kind of file it is: "pyslowfast" or "torchvision"."""

    path: Path
    kind: str
    tensors: dict[str, Tensor]
    class_names: list[str] | None = None


def load_torch_file(path: Path) -> dict:
    """The dictionary in a torch file, tensors on the CPU; nothing in the file is executed.

    Raises WeightsError where the file is missing, torn, not torch's, or holds what could execute.
    """
    if not path.is_file():
        raise WeightsError(f"There is no weights file or checkpoint at {path}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch raises a dozen kinds, and every one means the same to the user
        raise WeightsError(
            f"{path} cannot be read ({type(fault).__name__}). It is torn, or is no PyTorch file, or holds something "
            "other than tensors, numbers and text, which is refused because reading it could run code."
        ) from fault
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors or a checkpoint.")
    return content


def read_weights(path: str | Path, ema: bool = False) -> Source:
    """The tensors of a .pyth/.pth/.pt file under the names of our networks; `ema`: the averaged ones where it has them.

    Raises WeightsError for a missing, torn, unsafe or unknown file.
    """
    path = Path(path).expanduser()
    if path.suffix == ".pkl":
        raise WeightsError(
            f"{path}: caffe2 .pkl files are not read yet; convert it with PySlowFast to .pyth, or take a PyTorch file."
        )
    content = load_torch_file(path)
    names = content.get("class_names")
    for wrapper in ("ema_state", *_WRAPPERS) if ema else _WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    tensors = {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name: it is not a state dict or a checkpoint of one.")
    if "layer1.0.conv1.weight" in tensors and "conv1.weight" in tensors:
        return Source(path, "torchvision", {_from_torchvision(name): value for name, value in tensors.items()}, names)
    if any(name.startswith(("s1.", "s2.")) for name in tensors):
        return Source(path, "pyslowfast", tensors, names)
    raise WeightsError(
        f"{path} has names like '{next(iter(tensors))}', which are neither PySlowFast's "
        "(s1.pathway0_stem.conv.weight) nor torchvision's (layer1.0.conv1.weight)."
    )


def _from_torchvision(name: str) -> str:
    """layer3.2.conv1.weight -> s4.pathway0_res2.branch2.a.weight, and so on for a ResNet's names."""
    part, _, rest = name.partition(".")
    if part in ("conv1", "bn1"):
        return f"s1.pathway0_stem.{part[:-1]}.{rest}"
    if part == "fc":
        return f"head.projection.{rest}"
    if not part.startswith("layer"):
        return name
    index, layer, rest = rest.split(".", 2)
    block = f"s{int(part.removeprefix('layer')) + 1}.pathway0_res{index}"
    if layer == "downsample":
        which, rest = rest.split(".", 1)
        return f"{block}.{('branch1', 'branch1_bn')[int(which)]}.{rest}"
    letter = "abc"[int(layer[-1]) - 1]
    return f"{block}.branch2.{letter}{'_bn' if layer.startswith('bn') else ''}.{rest}"

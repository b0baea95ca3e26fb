"""Reading tensors out of other people's files, without executing anything that is in them."""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast_gta.class_names import ClassNames, plain_class_names
from slowfast_gta.errors import WeightsError
from slowfast_gta.models.weights.download import local_weights
from slowfast_gta.models.weights.names import RENAMED, find_kind
from slowfast_gta.models.weights.pickle_check import check_pickle
from slowfast_gta.models.weights.pickled import load_pickled
from slowfast_gta.models.weights.safetensors import load_safetensors
from slowfast_gta.pickles import RefusedPickleError, TornPickleError

MAX_DEPTH = 100  # of containers in containers
# Dictionaries in which trainers wrap their state dict, the innermost name first.
_WRAPPERS = ("model_state", "state_dict", "model")
_NUM_PICKLES = 5  # at the start of a file of before torch 1.6: magic number, protocol, system, content, keys


@dataclass(frozen=True)
class Source:
    """A file's tensors under our names, and whose file it is: a key of names.RENAMED.

    input: the order of colours that they were trained on, RGB unless the file says BGR.
    skipped: the file's own names of what only its training needed (momentum, learning rate, parts of a Sub-BN).
    """

    path: Path
    kind: str
    tensors: dict[str, Tensor]
    skipped: list[str] = field(default_factory=list)
    class_names: ClassNames | None = None
    input: str = "RGB"


def load_torch_file(path: Path) -> dict:
    """The dictionary in a torch file, tensors on the CPU; nothing in the file is executed.

    Raises WeightsError where the file is missing, truncated, not torch's, or holds what could execute.
    """
    _check_present(path)
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        _check_pickles(path)
        content = _plain(torch.load(path, map_location="cpu", weights_only=True), {})
    except WeightsError:
        raise
    except RefusedPickleError as fault:
        raise WeightsError(
            f"{path} was not read: {fault}, which cannot be told apart from what crashes Python or fills the memory."
        ) from None
    except Exception as fault:  # torch raises a dozen kinds, and every one means the same to the user
        asked = re.search(r"GLOBAL (\S+)", str(fault))
        raise WeightsError(
            f"{path} cannot be read ({f'it asks for {asked[1]}' if asked else type(fault).__name__}). It is "
            "truncated, or not a PyTorch file, or contains something other than tensors, numbers and text, "
            "which is refused because reading it could run code. If you trust it, save its state dict alone "
            "with the program that wrote it."
        ) from fault
    if not isinstance(content, dict):
        raise WeightsError(f"{path} contains a {type(content).__name__}, not a dictionary of tensors or a checkpoint.")
    return content


def _check_archive(path: Path) -> None:
    """Compare a zip archive with its own checksums, at which torch does not look.

    Archives of before torch 1.6 are none, and torch writes zeros where it was told to save the time.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise WeightsError(f"{path} is a compressed archive. PyTorch does not compress its files.")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:  # to read them all could take for ever
            raise WeightsError(f"{path} cannot be read: its parts lie on each other, or are not whole.")
        if any(entry.CRC for entry in entries) and (damaged := archive.testzip()) is not None:
            raise WeightsError(
                f"{path} cannot be read: its part {damaged} does not have the checksum that the archive states. "
                "The file is truncated or was changed: copy or download it again."
            )


def _check_pickles(path: Path) -> None:
    """Look through the pickles of a torch file for what crashes Python or fills the memory: torch.load lets it pass."""
    try:
        with path.open("rb") as file:
            in_archive = file.read(4) == b"PK\x03\x04"  # what torch goes by
            file.seek(0)
            for _ in range(0 if in_archive else _NUM_PICKLES):
                check_pickle(file)
            if in_archive:  # by torch's own reader: names that Python's finds equal or unequal are others to it
                file.seek(0)  # a file, since it takes no path that is not UTF-8
                check_pickle(io.BytesIO(torch._C.PyTorchFileReader(file).get_record("data.pkl")))
    except TornPickleError:
        pass  # torch.load stops there too, and says of what kind the file is


def _plain(item: Any, done: dict[int, Any], depth: int = 0) -> Any:
    """`item` in dicts, lists and tensors that have no attributes: what a file sets on an OrderedDict or a Parameter may
    bear the name of a method, `items` or `is_complex`, and hides it. done: {id: what became of it}."""
    if depth > MAX_DEPTH:
        raise RefusedPickleError(f"it holds containers nested more than {MAX_DEPTH} deep")
    if isinstance(item, Tensor):
        return Tensor.detach(item)
    if id(item) in done or not (isinstance(item, dict) or type(item) in (list, tuple)):
        return done.get(id(item), item)
    made: Any
    if isinstance(item, dict):
        done[id(item)] = made = {}  # before its content, in which it may be itself
        made |= {key: _plain(value, done, depth + 1) for key, value in dict.items(item)}
    elif isinstance(item, list):
        done[id(item)] = made = []
        made += [_plain(part, done, depth + 1) for part in item]
    else:
        done[id(item)] = made = tuple(_plain(part, done, depth + 1) for part in item)
    return made


def _check_present(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"There is no weights file or checkpoint at {path}.")


def read_weights(path: str | Path, ema: bool = False) -> Source:
    """The tensors of a file under the names of our networks; `ema`: the averaged ones where it has them.

    path: a file, a name of zoo.ZOO (torchvision/resnet50) or an https URL; what is downloaded stays in a cache.

    .pkl is caffe2's, .safetensors its own format, everything else PyTorch's (.pyth, .pth, .pt, .tar).
    Raises WeightsError for a missing, truncated, unsafe or unknown file.
    """
    path = local_weights(path)
    _check_present(path)
    if path.suffix == ".pkl":
        return _read_caffe2(path)
    if path.suffix == ".safetensors":
        tensors_of_file, metadata = load_safetensors(path)
        content: Mapping[str, Any] = tensors_of_file
        class_names, origin = _parse_class_names(metadata.get("class_names")), metadata
    else:
        content = load_torch_file(path)
        class_names = plain_class_names(content.get("class_names"))
        origin = content.get("origin")
        for wrapper in ("ema_state", *_WRAPPERS) if ema else _WRAPPERS:
            if isinstance(content.get(wrapper), dict):
                content = content[wrapper]
                break
    tensors = {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} contains no named tensors: it is neither a state dict nor a checkpoint of one.")
    kind = find_kind(tensors)
    if kind is None:
        raise WeightsError(
            f"{path} has names like '{next(iter(tensors))}', which are neither PySlowFast's "
            "(s1.pathway0_stem.conv.weight) nor torchvision's or timm's (layer1.0.conv1.weight), TSM's "
            "(base_model.layer1.0.conv1.net.weight) or mmaction2's (backbone.layer1.0.conv1.conv.weight)."
        )
    reverse = isinstance(origin, dict) and origin.get("input") == "BGR"
    return replace(_rename(path, kind, tensors, class_names), input="BGR" if reverse else "RGB")


def _rename(path: Path, kind: str, tensors: dict[str, Tensor], class_names: ClassNames | None = None) -> Source:
    source = Source(path, kind, {}, class_names=class_names)
    for theirs, value in tensors.items():
        ours = RENAMED[kind](theirs)
        if ours is None:
            source.skipped.append(theirs)
        elif ours in source.tensors:
            raise WeightsError(f"{path} has two tensors for {ours} of our network; the second is {theirs}.")
        elif value.layout != torch.strided or value.is_quantized or value.is_meta or value.is_complex():
            raise WeightsError(
                f"{path}: {theirs} is sparse, quantised, complex or without numbers; only dense, real-valued "
                "tensors can be loaded."
            )
        else:
            source.tensors[ours] = value
    return source


def _read_caffe2(path: Path) -> Source:
    """caffe2's .pkl, as the PySlowFast zoo has it: {"blobs": {name: array}}."""
    content = load_pickled(path)
    blobs = content.get("blobs") if isinstance(content, dict) else None
    if not isinstance(blobs, dict):
        raise WeightsError(f'{path} has no "blobs": it is not a caffe2 weights file. Other .pkl files are not read.')
    arrays = {name: np.asarray(value) for name, value in blobs.items() if isinstance(value, np.ndarray | np.generic)}
    source = _rename(path, "caffe2", {name: _tensor(name, value, path) for name, value in arrays.items()})
    source.skipped.extend(name for name in blobs if name not in arrays)
    if not any(name.startswith("s1.") for name in source.tensors):
        raise WeightsError(f"{path} has no first blob of a ResNet or SlowFast (conv1_w): it is of another network.")
    return source


def _tensor(name: str, value: np.ndarray, path: Path) -> Tensor:
    try:
        return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))  # a copy, in this machine's byte order
    except TypeError as fault:
        raise WeightsError(
            f"{path}: {name} has numbers of type {value.dtype}, which PyTorch does not support."
        ) from fault


def _parse_class_names(text: str | None) -> ClassNames | None:
    """The list, or dict of lists, that `save_safetensors` was given as metadata; None where there is none."""
    try:
        names: Any = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    return plain_class_names(names)

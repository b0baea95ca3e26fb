"""The .safetensors format: a length (8 bytes, little-endian), a JSON header, then the numbers. It holds no code.

Header: {name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, "__metadata__": {text: text}}; offsets
count bytes after the header, and tensors fill the rest of the file without a gap.
"""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import IO

import torch
from torch import Tensor, nn

from slowfast_gta.errors import WeightsError
from slowfast_gta.files import whole_file

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER = 100_000_000  # bytes, as the format has it


def load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by name, on the CPU, and the file's metadata.

    Raises WeightsError where the file is torn or is not what its header says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER):
            raise WeightsError(f"{path} is torn or no .safetensors file: its header would end after the file does.")
        header = _parse_header(file.read(length), path)
        content = bytearray(file.read())
    metadata = header.pop("__metadata__", {})
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        tensors[name] = _tensor(name, entry, content, end, path)
        end = entry["data_offsets"][1]
    if end != len(content):
        raise WeightsError(f"{path} has {len(content)} bytes of numbers, and its header speaks of {end}.")
    return tensors, metadata


def _parse_header(text: bytes, path: Path) -> dict:
    """The header, in which every entry has the right form."""
    try:
        header = json.loads(text, object_pairs_hook=_unique)
        for name, entry in header.items():
            if name == "__metadata__":
                good = all(isinstance(value, str) for value in entry.values())
            else:
                good = isinstance(entry["dtype"], str) and len(entry["data_offsets"]) == 2
                numbers = [*entry["shape"], *entry["data_offsets"]]
                good = good and all(type(number) is int and number >= 0 for number in numbers)
            if not good:
                raise ValueError(f"the entry of {name}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise WeightsError(f"{path} has no .safetensors header that can be read ({str(fault)[:80]}).") from fault
    return header


def _unique(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _tensor(name: str, entry: dict, content: bytearray, expected_begin: int, path: Path) -> Tensor:
    """The tensor of one header entry; its numbers begin where those before it ended."""
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise WeightsError(f"{path}: {name} has the type {entry['dtype']}; {', '.join(_DTYPES)} can be read.")
    if begin != expected_begin or end > len(content) or end - begin != prod(shape) * dtype.itemsize:
        raise WeightsError(
            f"{path}: {name} is {entry['dtype']} {shape} at bytes {begin} to {end} of {len(content)}; it would have "
            f"to begin at {expected_begin} and take {prod(shape) * dtype.itemsize}. The file is torn or altered."
        )
    if begin == end:
        if prod(size or 1 for size in shape) >= 2**48:
            raise WeightsError(f"{path}: {name} has the shape {shape}, which no tensor has.")
        return torch.empty(shape, dtype=dtype)
    # uint8 first: a view of numbers needs no alignment that way, a copy gives it.
    return torch.frombuffer(content, dtype=torch.uint8, offset=begin, count=end - begin).clone().view(dtype).view(shape)


def save_safetensors(model: nn.Module, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write a network's weights and statistics under their own names, whole or not at all.

    metadata: text by name; a list of class names goes in as JSON under "class_names", and is read back from there.
    """
    path = Path(path).expanduser()
    try:
        with whole_file(path, synced=True) as file:
            write_safetensors(file, model.state_dict(), {"format": "pt"} | (metadata or {}))
    except OSError as fault:
        raise WeightsError(f"{path} could not be written: {fault.strerror}.") from fault


def write_safetensors(file: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write `tensors` into a file that is open: the same ones are the same bytes, in whatever order they are given."""
    # The widest first, so that every tensor begins at a multiple of its numbers' size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, value in ordered:
        begin, end = end, end + value.numel() * value.element_size()
        header[name] = {"dtype": _NAMES[value.dtype], "shape": list(value.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, value in ordered:
        file.write(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)

"""Files of the .safetensors format, read and written by the library of that name. They hold no code."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from slowfast_gta.errors import WeightsError
from slowfast_gta.files import whole_file


def load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by name, on the CPU, and the file's metadata.

    Raises WeightsError where the file is truncated or is not what its header says.
    """
    try:
        # pread: tensors of their own, where mmap's would change, or end the process, with the file.
        with safe_open(path, framework="pt", backend="pread") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, RuntimeError, TypeError, ValueError) as fault:  # torch's are about absurd shapes
        reason = " ".join(str(fault).split())[:160]
        raise WeightsError(
            f"{path} is not a complete .safetensors file ({reason}). Copy or download it again, or save it "
            "again with the "
            "program that wrote it."
        ) from fault


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
    """Write `tensors` into a file that is open: the same ones are the same bytes, in whatever order they are given,
    where there is at most one entry of metadata (the library writes several in any order)."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    file.write(save(plain, dict(metadata)))

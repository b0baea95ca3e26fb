"""One frame that was extracted into a file: a JPEG or PNG image, whole and of bounded size."""

import struct
from pathlib import Path

import cv2
import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.video.containers import check_is_file
from slowfast_gta.video.limits import MAX_PIXELS, check_frame_size

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the markers of the segment that has the size
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


def read_image(path: str | Path) -> np.ndarray:
    """uint8 (H, W, 3), RGB. Raises DataError.

    The size is looked up first, since decoders take the memory for whatever a header declares; and so is the end,
    since they fill what is missing with grey.
    """
    if check_is_file(path) > 8 * MAX_PIXELS:
        raise DataError(f"{path}: the file is too large for an image.")
    try:
        data = Path(path).read_bytes()
        height, width, is_whole = _png(data) if data.startswith(_PNG) else _jpeg(data)
    except OSError as fault:
        raise DataError(f"{path}: the image cannot be read ({fault.strerror}).") from None
    except (struct.error, ValueError):
        raise DataError(f"{path}: this is not an image that can be read (JPEG or PNG).") from None
    check_frame_size(path, width, height)
    if not is_whole:
        raise DataError(f"{path}: the image is truncated. Fetch or extract it again.")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise DataError(f"{path}: this is not an image that can be read (JPEG or PNG).")
    return image


def _png(data: bytes) -> tuple[int, int, bool]:
    """Height, width, and whether it has its end."""
    width, height = struct.unpack_from(">II", data, 16)
    return height, width, _PNG_END in data[-64:]


def _jpeg(data: bytes) -> tuple[int, int, bool]:
    """Height, width, and whether it has its end: segments of marker and length, one of them with the size."""
    if not data.startswith(_JPEG):
        raise ValueError
    offset = 2
    while True:
        start, marker, length = struct.unpack_from(">BBH", data, offset)
        if start != 0xFF:
            raise ValueError
        if marker == 0xFF:  # padding
            offset += 1
        elif marker in _JPEG_SIZES:
            return *struct.unpack_from(">HH", data, offset + 5), _JPEG_END in data[offset:]
        else:
            offset += 2 + length

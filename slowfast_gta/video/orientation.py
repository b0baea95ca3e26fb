"""Which way up a frame is shown: a phone films as it is held, and leaves the turning to the player."""

from typing import Any

import av
import numpy as np


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """(2, 2) [[a, b], [c, d]], where the point (x, y) of the frame is shown at (a x + c y, b x + d y); None is upright.

    Players turn by quarters and mirror; other angles, which no camera writes, are left as they are coded.
    """
    try:
        side_data: Any = frame.side_data.get("DISPLAYMATRIX")  # a buffer, which its stub does not say
    except ValueError:  # side data of a kind that this PyAV has no name for, as of EXIF in a TIFF
        return None
    if side_data is None:
        return None
    matrix = np.sign(np.frombuffer(side_data, np.int32, 9).reshape(3, 3)[:2, :2])
    quarters = np.count_nonzero(matrix) == 2 and matrix.any(axis=0).all() and matrix.any(axis=1).all()
    return matrix if quarters else None


def upright(image: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """The frame (H, W, 3) as it is shown, (W, H, 3) after a quarter turn. A view, not a copy."""
    if matrix is None:
        return image
    (a, b), (c, d) = matrix
    if not a:
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: int(d), :: int(a)]

"""From a decoded frame to pixels: RGB, of one size, and upright: a phone films as it is held, and leaves the turning to
the player. H W space."""

from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from slowfast_gta.errors import DataError
from slowfast_gta.video.limits import check_frame_size


class FrameConverter:
    """Converts the frames of one video; the first one says which size they have, and which way up they are."""

    def __init__(self, path: str):
        self._path = path
        self._reformatter = VideoReformatter()  # one for all frames, in one thread: ten times faster than one for each
        self._size: tuple[int, int] | None = None
        self._matrix: np.ndarray | None = None

    def fits(self, frame: av.VideoFrame) -> bool:
        """Whether it has the size of the first. Raises DataError where that is too large."""
        size = (frame.width, frame.height)
        if self._size is None:
            check_frame_size(self._path, *size)
            self._size, self._matrix = size, display_matrix(frame)
        return size == self._size

    def check_fits(self, frame: av.VideoFrame) -> None:
        """Raises DataError unless it fits."""
        if not self.fits(frame) and self._size is not None:
            raise DataError(
                f"{self._path}: the size of its frames changes, from {self._size[0]} x {self._size[1]} to "
                f"{frame.width} x {frame.height} pixels. Convert it to one (ffmpeg -i IN -vf scale=-2:480 OUT)."
            )

    def upright_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """uint8 (H, W, 3). Raises DataError."""
        try:
            image = self._reformatter.reformat(frame, frame.width, frame.height, "rgb24", threads=1).to_ndarray()
        except (av.error.FFmpegError, ValueError):
            raise DataError(
                f"{self._path}: its frames ({frame.format.name}) cannot be converted to RGB. Convert it to "
                "H.264 (.mp4)."
            ) from None
        return np.ascontiguousarray(upright(image, self._matrix))


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

"""Looking at one video: is it there, can it be opened and decoded, how many frames has it, of what size?

H W space.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.video.frame_folders import FrameFolder
from slowfast_gta.video.readers import open_video

DECODE = ("none", "sample", "all")  # each looks at more than the one before
_FIRST_BYTES = 65536  # of a file: two with the same ones, and the same length, are the same


@dataclass(frozen=True)
class ExamineJob:
    """What to look at: a video, or the part `span` of it. `num_samples` frames are decoded with "sample"."""

    path: str
    span: tuple[float, float] | None
    decode: str
    num_samples: int
    frame_pattern: str = ""  # as DATA.FRAME_PATTERN

    @property
    def key(self) -> str:
        path = f"{self.path} {self.frame_pattern}" if self.frame_pattern else self.path
        return path if self.span is None else f"{path} {self.span[0]:g} {self.span[1]:g}"


def stamp_of(path: str) -> list[int] | None:
    """Size and times of change of a file or folder: the same as long as nobody has touched it. None: not there."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def examine(job: ExamineJob) -> dict:
    """The facts, ready for JSON: stamp, digest, num_frames, fps, sizes (H, W), num_repeated, num_gaps; where something
    is wrong, `kind` (as in rules.py) and the sentence `fault`."""
    cv2.setNumThreads(0)  # the processes are the parallelism
    facts: dict[str, Any] = {"decode": job.decode, "stamp": stamp_of(job.path), "kind": None, "fault": None}
    if facts["stamp"] is None:
        reason = "there is no such file or folder" if not os.path.lexists(job.path) else "broken symbolic link"
        return facts | {"kind": "missing", "fault": f"{job.path}: {reason}."}
    try:
        if job.span is None:
            facts["digest"] = _digest(job)
        if job.decode != "none":
            facts |= _decode(job)
    except DataError as fault:
        facts |= {"kind": "unreadable", "fault": str(fault)}
    except OSError as fault:
        facts |= {"kind": "unreadable", "fault": f"{job.path}: it cannot be read ({fault.strerror})."}
    if len(facts.get("sizes", ())) > 1:
        sizes = ", ".join(f"{width} x {height}" for height, width in facts["sizes"])
        facts |= {"kind": "frame sizes", "fault": f"{job.path}: its frames are of different sizes: {sizes}."}
    return facts


def _digest(job: ExamineJob) -> str:
    """A hash that two copies of a video share: of a file's first bytes, of a folder's first, middle and last frame, and
    of its length. Raises DataError where there is nothing in it."""
    path = Path(job.path)
    if path.is_dir():
        with FrameFolder(path, pattern=job.frame_pattern) as folder:
            length, files = folder.num_frames, folder.files
        files = [files[0], files[length // 2], files[-1]]
    else:
        length, files = path.stat().st_size, [path]
    content = b"".join(_first_bytes(file) for file in files)
    return hashlib.sha1(b"%d " % length + content, usedforsecurity=False).hexdigest()


def _first_bytes(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path}: this is not a regular file.")  # to open a pipe would be to wait for ever
    with path.open("rb") as file:
        content = file.read(_FIRST_BYTES)
    if not content:
        raise DataError(f"{path}: the file is empty (0 bytes).")
    return content


def _decode(job: ExamineJob) -> dict:
    """The facts of decoding frames spread over the whole, the first and the last included, or all of them."""
    with open_video(job.path, job.span, frame_pattern=job.frame_pattern) as video:
        wanted = range(video.num_frames)
        if job.decode == "sample":
            positions = np.linspace(0, video.num_frames - 1, min(job.num_samples, video.num_frames))
            wanted = positions.round().astype(int).tolist()
        # A folder is read file by file here, since its frames may be of different sizes.
        one_by_one = (video.read([index])[0] for index in wanted)
        frames = one_by_one if isinstance(video, FrameFolder) else video.frames(wanted)
        sizes = sorted({frame.shape[:2] for frame in frames})
        facts = {"num_frames": video.num_frames, "fps": video.fps, "sizes": sizes, "num_repeated": video.num_repeated}
        return facts | ({"num_gaps": video.num_gaps} if isinstance(video, FrameFolder) and not job.span else {})

"""Folders of images that show their numbers."""

from pathlib import Path

import cv2
from made_videos import numbered_frame


def write_images(folder: Path, names: str, numbers=range(1, 13), shift: int = 0) -> Path:
    """Images called `names`, each with its number + `shift`."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        name = names.format(number)
        content = cv2.imencode(Path(name).suffix, numbered_frame(number + shift)[:, :, ::-1])[1].tobytes()
        (folder / name).write_bytes(content)
    return folder

"""Encoding frames as small real video files. T frame, H W space."""

import io
from typing import Any

import av
import cv2
import numpy as np

# (container, encoder, options). Every frame is coded on its own with one fixed quantiser, so a video played backwards
# decodes to exactly the same frames backwards: no trace of the encoding can tell a network the direction. It is also
# the fastest: 24 frames of 96x72 take 11 ms to write (h264: 5), and 2 ms to read 8 of them.
CODECS = {
    "vp9": (
        "webm",
        "libvpx-vp9",
        {"g": "1", "crf": "20", "qmin": "20", "qmax": "20", "b": "0", "deadline": "realtime", "cpu-used": "8"},
    ),
    "h264": ("mp4", "libx264", {"g": "1", "qp": "20", "preset": "ultrafast"}),
}
FRAMES_PER_SECOND = 12


def encode_video(frames: np.ndarray, codec: str) -> bytes:
    """The file that holds `frames` (T, H, W, 3)."""
    container_format, encoder, options = CODECS[codec]
    file = io.BytesIO()
    no_random_ids = {"fflags": "+bitexact"}  # the same frames give the same bytes
    with av.open(file, "w", format=container_format, container_options=no_random_ids) as container:
        stream: Any = container.add_stream(encoder, rate=FRAMES_PER_SECOND, options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.thread_count = 1  # the processes are the parallelism
        for frame in frames:
            planes: Any = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YUV_I420)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    return file.getvalue()

"""Watching: a player's pipe, and the page of this machine."""

import io
import sys
import threading
import urllib.request

import av
import cv2
import numpy as np
import pytest
from made_videos import number_of, numbered_frame

from slowfast_gta.video.output.view import Page, Player, PlayerClosed


def test_the_page_has_the_frames_and_ends(tmp_path):
    """Paced: the first frame waits for whoever opens it, so that nobody misses the begin."""
    page = Page(paced=True)
    with urllib.request.urlopen(page.address, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")

        def write() -> None:
            for number in range(5):
                page.write(numbered_frame(number), number / 20)
            page.close()

        writer = threading.Thread(target=write)
        writer.start()
        parts = answer.read().split(b"--frame")
        writer.join()
    pictures = [part.split(b"\r\n\r\n", 1)[1] for part in parts if b"image/jpeg" in part]
    shown = [number_of(cv2.imdecode(np.frombuffer(one, np.uint8), 1)[:, :, ::-1]) for one in pictures]
    assert shown and shown == sorted(set(shown)) and shown[-1] == 4, "in order; the last one at last"
    assert page.address.startswith("http://127.0.0.1:")


def test_other_paths_are_not_there():
    page = Page(paced=False)
    page.write(numbered_frame(0), 0)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(page.address + "etc/passwd", timeout=60)
    page.close()


def test_a_player_is_given_the_video(tmp_path):
    out = tmp_path / "got.mkv"
    code = "import sys,shutil; shutil.copyfileobj(sys.stdin.buffer, open(sys.argv[1], 'wb'))"
    player = Player([sys.executable, "-c", code, str(out)], (48, 64), 10)
    for number in range(6):
        player.write(numbered_frame(number), number / 10)
    player.close()
    with av.open(io.BytesIO(out.read_bytes())) as container:
        frames = [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert frames == list(range(6))


def test_a_player_that_is_closed_ends_it():
    player = Player([sys.executable, "-c", "pass"], (48, 64), 10)
    with pytest.raises(PlayerClosed):
        for number in range(20_000):
            player.write(numbered_frame(number % 200), number / 10)
    player.close()

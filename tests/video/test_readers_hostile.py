"""Damaged, odd and hostile files: read as runs read them, each either gives frames or is refused in a sentence.

SLOWFAST_GTA_HOSTILE_SEED=7 tries other damages, SLOWFAST_GTA_HOSTILE_FILES=DIR damages the videos below DIR as well.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import hostile_files
import pytest
from hostile_files import make_damaged, make_frame_folders, make_huge, make_no_videos
from made_videos import remux, write_video
from miniatures import ROOT

SEED = int(os.environ.get("SLOWFAST_GTA_HOSTILE_SEED", "0"))
MORE_FILES = os.environ.get("SLOWFAST_GTA_HOSTILE_FILES")
MINUTES = 30 if MORE_FILES else 2  # a hang, not a slow machine, is what reaches it


def read_all(paths: list[Path]) -> dict[Path, str]:
    """What became of each: "read", or the sentence. The process that reads must come to its end."""
    ended = subprocess.run(
        [sys.executable, hostile_files.__file__],
        input="\0".join(map(str, paths)),
        capture_output=True,
        text=True,
        timeout=60 * MINUTES,
        errors="surrogateescape",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    answers = dict(line.split("\t", 1) for line in ended.stdout.split("\0") if line)
    unread = [path for path in paths if str(path) not in answers]
    assert ended.returncode == 0 and not unread, f"{unread[:1]} ended it ({ended.returncode}): {ended.stderr[-2000:]}"
    return {path: answers[str(path)] for path in paths}


def test_every_file_gives_frames_or_an_error_message(tmp_path):
    originals, video_folder, folders = (tmp_path / name for name in ("originals", "damaged", "folders"))
    for folder in (originals, video_folder, folders):
        folder.mkdir()
    sources = [write_video(originals / f"small{suffix}", 24) for suffix in (".mp4", ".webm", ".avi")]
    sources += [remux(sources[0], originals / f"small_h264{suffix}") for suffix in (".ts", ".flv", ".mkv")]
    if MORE_FILES:
        sources += sorted(path for path in Path(MORE_FILES).rglob("*") if path.suffix in (".mp4", ".avi", ".webm"))
    frame_folders, bad_folders = make_frame_folders(folders, SEED)
    huge = make_huge(folders, sources[0])
    paths = [*sources, *make_damaged(video_folder, sources, SEED), *huge, *frame_folders]
    outcomes = read_all(paths)
    assert len(paths) >= 200
    assert all(outcomes[source] == "read" for source in sources), "the files that are damaged here are whole"
    for path, outcome in outcomes.items():
        assert outcome == "read" or str(path) in outcome, f"{path}: the sentence names another file: {outcome}"
        assert "\n" not in outcome and len(outcome) < 600, outcome
    assert not [folder for folder in bad_folders if outcomes[folder] == "read"]
    assert [outcomes[path] == "read" for path in huge] == [True, False, False], "the frames count, not the header"
    num_read = sum(outcome == "read" for outcome in outcomes.values())
    assert 20 < num_read < len(paths) - 100, "some damages are harmless, and some are not"


def test_what_is_no_video_is_refused_and_opens_nothing_else(tmp_path):
    video = write_video(tmp_path / "whole.mp4", 24)
    folder = tmp_path / "no_videos"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        outcomes = read_all([video, *make_no_videos(folder, video, server.getsockname()[1])])
        with pytest.raises(BlockingIOError):
            server.accept()
    assert outcomes.pop(video) == "read"
    assert not [path for path, outcome in outcomes.items() if outcome == "read"]
    assert not [outcome for path, outcome in outcomes.items() if str(path) not in outcome]

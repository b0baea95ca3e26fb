"""EPIC-Kitchens in miniature, in the files and columns of its two releases."""

import csv
from pathlib import Path

import cv2
from made_videos import numbered_frame, write_video

VERBS, NOUNS = ["take", "put", "open"], ["tap", "board:chopping", "door", "oil:olive"]
HEAD_100 = [
    *("narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp", "stop_timestamp"),
    *("start_frame", "stop_frame", "narration", "verb", "verb_class", "noun", "noun_class", "all_nouns"),
    "all_noun_classes",
]
HEAD_55 = [
    *("uid", "participant_id", "video_id", "narration", "start_timestamp", "stop_timestamp", "start_frame"),
    *("stop_frame", "verb", "verb_class", "noun", "noun_class", "all_nouns", "all_noun_classes"),
]
FPS = 12


def write_csv(path: Path, head: list[str], rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, head, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def action(number: int, video: str, start: float, stop: float, verb: int, noun: int) -> dict:
    """A row, for either release, whose nouns are in brackets and with commas where there are several."""
    times = {
        f"{name}_timestamp": f"00:00:{seconds:05.2f}"
        for name, seconds in (("start", start), ("stop", stop), ("narration", start))
    }
    frames = {"start_frame": max(1, int(start * FPS)), "stop_frame": int(stop * FPS)}
    names = {"verb": VERBS[verb], "noun": NOUNS[noun], "narration": f"{VERBS[verb]}, then {NOUNS[noun]}"}
    ids = {"uid": number, "narration_id": f"{video}_{number}", "participant_id": video[:3], "video_id": video}
    classes = {"verb_class": verb, "noun_class": noun, "all_nouns": [NOUNS[noun], "pan"], "all_noun_classes": [noun, 1]}
    return times | frames | names | ids | classes


def make_epic(folder: Path, release: int, train: list[dict], val: list[dict]) -> Path:
    """The csv files of a release; EPIC-55 has its validation rows in the training list, under participants from P26."""
    folder.mkdir(exist_ok=True)
    if release == 100:
        lists, prefix, head = {"EPIC_100_train": train, "EPIC_100_validation": val}, "EPIC_100", HEAD_100
        class_head = "id,key,instances,category"
    else:
        lists, prefix, head = {"EPIC_train_action_labels": train + val}, "EPIC", HEAD_55
        class_head = "{}_id,class_key,{}s"
    for name, rows in lists.items():
        write_csv(folder / f"{name}.csv", head, [{key: row[key] for key in head} for row in rows])
    for word, names in (("verb", VERBS), ("noun", NOUNS)):
        lines = [f"{number},{name},\"['{name}', 'x']\"" + ",y" * (release == 100) for number, name in enumerate(names)]
        (folder / f"{prefix}_{word}_classes.csv").write_text("\n".join([class_head.format(word, word), *lines]) + "\n")
    return folder


def make_video(folder: Path, video: str, num_frames: int = 60) -> Path:
    path = folder / video[:3] / "videos" / f"{video}.MP4"
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path.with_suffix(".mp4"), num_frames, fps=FPS).rename(path)


def make_frames(folder: Path, video: str, num_frames: int = 60) -> Path:
    path = folder / video[:3] / "rgb_frames" / video
    path.mkdir(parents=True)
    for number in range(1, num_frames + 1):
        cv2.imwrite(str(path / f"frame_{number:010d}.jpg"), numbered_frame(number)[:, :, ::-1])
    return path


TRAIN = [action(0, "P01_01", 0.5, 2.0, 2, 2), action(1, "P02_101", 1.0, 3.5, 0, 3)]
VAL_100, VAL_55 = [action(2, "P01_11", 0.0, 1.5, 1, 1)], [action(2, "P26_01", 0.0, 1.5, 1, 1)]

"""CNN, Daily Mail (MM-AVS: a video and an article, no times) and BLiSS (a clip of a live stream and its transcript).

    ROOT/CNN/annotation/{train,test}.json                     text_label, article_sentence, highlight [, video_label]
    ROOT/CNN/feature/video_resnet50_{train,test}.npy          text_roberta_{train,test}.npy
    ROOT/Daily_Mail/... likewise, and feature/video_summ_resnet50_{train,test}.npy: the reference's key frames (K, C)
    ROOT/BLiSS/annotation/{train,test}.json                   sentence, sentence_time [[s, e]], video_label, text_label
    ROOT/BLiSS/feature/video_clip_*.npy, text_roberta_*.npy, video_summ_clip_*.npy

T frame, M sentence, K key frame, C channel.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from a2summ.data.annotations import entry, features, labels, read_json, texts
from a2summ.data.object_arrays import load_arrays
from a2summ.samples import Sample
from slowfast_gta.errors import DataError, counted

_FRAMES = {"CNN": "resnet50", "Daily_Mail": "resnet50", "BLiSS": "clip"}


@dataclass(frozen=True)
class TextReference:
    """What a summary of text and key frames is compared with."""

    sentences: list[str]
    highlight: str
    key_frames: np.ndarray | None  # (K, C); None where there are none (CNN)
    rescaled: bool = False  # BLiSS: similarities are min-max scaled over the valid frames


def load_articles(root: str | Path, dataset: str, part: str) -> list[Sample]:
    """The samples of "CNN", "Daily_Mail" or "BLiSS"; `part` is "train" or "test". Raises DataError."""
    folder = Path(root) / dataset
    annotation = folder / "annotation" / f"{part}.json"
    entries = read_json(annotation)
    frames_path = folder / "feature" / f"video_{_FRAMES[dataset]}_{part}.npy"
    texts_path = folder / "feature" / f"text_roberta_{part}.npy"
    frames, sentences = load_arrays(frames_path), load_arrays(texts_path)
    keys_path = folder / "feature" / f"video_summ_{_FRAMES[dataset]}_{part}.npy"
    key_frames = None if dataset == "CNN" else load_arrays(keys_path)
    samples = []
    for name, values in entries.items():
        where = f"{annotation}, {name}"
        video, text = features(frames, name, str(frames_path)), features(sentences, name, str(texts_path))
        own_keys = None if key_frames is None else features(key_frames, name, str(keys_path)).numpy()
        frame_labels = None
        if own_keys is not None:
            frame_labels = labels(entry(values, "video_label", where), len(video), f"{where}, video_label")
            if len(own_keys) != int(frame_labels.sum()):
                raise DataError(
                    f"{where}: {counted(int(frame_labels.sum()), 'frame')} of label 1, but "
                    f"{counted(len(own_keys), 'key frame')}."
                )
        samples.append(
            Sample(
                name,
                video,
                text,
                _spans(values, len(video), len(text), where) if dataset == "BLiSS" else None,
                frame_labels,
                labels(entry(values, "text_label", where), len(text), f"{where}, text_label"),
                TextReference(
                    texts(
                        entry(values, "sentence" if dataset == "BLiSS" else "article_sentence", where), len(text), where
                    ),
                    _highlight(values, where),
                    own_keys,
                    rescaled=dataset == "BLiSS",
                ),
            )
        )
    return samples


def _highlight(values: dict, where: str) -> str:
    highlight = entry(values, "highlight", where)
    if isinstance(highlight, list) and all(isinstance(line, str) for line in highlight):
        return "\n".join(highlight)
    if not isinstance(highlight, str):
        raise DataError(f"{where}: highlight must be text or a list of texts.")
    return highlight


def _spans(values: dict, num_frames: int, num_sentences: int, where: str) -> np.ndarray:
    """sentence_time, in frames, the end exclusive; clipped to the clip. int64 (M, 2)"""
    times = entry(values, "sentence_time", where)
    try:
        spans = np.array(times, np.int64).reshape(num_sentences, 2)
    except (ValueError, TypeError, OverflowError):
        raise DataError(f"{where}: sentence_time must be {counted(num_sentences, 'pair')} of frames.") from None
    if (spans < 0).any() or (spans[:, 0] > spans[:, 1]).any():
        raise DataError(f"{where}: sentence_time must be pairs (start, end), 0 <= start <= end.")
    return np.minimum(spans, num_frames)

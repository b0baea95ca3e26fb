"""Answers to an official test list, whose labels only its server knows, in the format that the server takes."""

import sys
from pathlib import Path

from tqdm import tqdm

from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.errors import DataError, RunError
from slowfast_gta.files import write_whole
from slowfast_gta.inference.predictor import build_predictor


def save_submission(cfg, weights: str | Path, folder: Path) -> dict:
    """Write what TEST.DATASET's server takes into `folder`, with TEST's views of each video.

    Returns {"scored": False, "files": [path], "num_videos": answered ones, "missing": {id: reason}}. Raises DataError
    where the data set has no such list, or where not one video could be read.
    """
    dataset = build_dataset(cfg, "test")
    parts = dataset.unlabelled_parts()
    predictor = build_predictor(cfg, weights)
    answers, missing = {}, {}
    seldom = {} if sys.stderr.isatty() else {"mininterval": 30.0}
    for part, records in parts.items():
        answers[part] = {}
        scored = predictor.scores_of(records)
        for record, found in tqdm(scored, total=len(records), desc=part, unit="video", **seldom):
            if isinstance(found, DataError):
                missing[record.video_id] = str(found)
            else:
                answers[part][record.video_id] = found.tolist()
    if not any(answers.values()):
        raise DataError(f"Not one of the {len(missing)} test videos could be read. {next(iter(missing.values()), '')}")
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in dataset.submission_files(answers).items():
            write_whole(folder / name, content)
            files.append(str(folder / name))
    except OSError as fault:
        raise RunError(f"{fault.filename or folder}: the submission cannot be written ({fault.strerror}).") from None
    return {"scored": False, "files": files, "num_videos": sum(map(len, answers.values())), "missing": missing}

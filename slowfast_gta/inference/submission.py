"""Answers to an official test list, whose labels only its server knows, in the format that the server takes."""

from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.engine.logging import progress_of
from slowfast_gta.errors import DataError, RunError
from slowfast_gta.files import write_whole
from slowfast_gta.inference.predictor import build_predictor


def build_submission(
    cfg: CfgNode, weights: str | Path, folder: Path, batch_size: int | None = None, precision: str | None = None
) -> dict:
    """Write what TEST.DATASET's server takes into `folder`, with TEST's views of each video.

    batch_size, precision: instead of TEST.BATCH_SIZE and TEST.PRECISION.
    Returns {"scored": False, "files": [path], "num_videos": scored ones, "missing": {id: reason}}. Raises DataError
    where the data set has no such list, or where not one video could be read.
    """
    dataset = build_dataset(cfg, "test")
    parts = dataset.unlabelled_parts()
    if folder.exists() and not folder.is_dir():  # found before the videos are scored, which may take hours
        raise RunError(f"{folder} is not a folder. Name a new one for the submission.")
    predictor = build_predictor(cfg, weights, batch_size, precision)
    by_part: dict[str, dict[str, list[float]]] = {}
    missing: dict[str, str] = {}
    for part, records in parts.items():
        by_part[part] = {}
        for record, scores in progress_of(predictor.scores_of(records), part, "video", total=len(records)):
            if isinstance(scores, DataError):
                missing[record.video_id] = str(scores)
            else:
                by_part[part][record.video_id] = scores.tolist()
    if not any(by_part.values()):
        raise DataError(f"No test video could be read (of {len(missing)}). {next(iter(missing.values()), '')}")
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in dataset.submission_files(by_part).items():
            write_whole(folder / name, content)
            files.append(str(folder / name))
    except OSError as fault:
        raise RunError(f"{fault.filename or folder}: the submission cannot be written ({fault.strerror}).") from None
    return {"scored": False, "files": files, "num_videos": sum(map(len, by_part.values())), "missing": missing}

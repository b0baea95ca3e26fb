"""Checking a whole data set: its lists, every video of them, and the splits against each other; all findings at once.

Every video that has been looked at is a line of a journal beside the report, at once: a check that was killed resumes
where it was, and a later one looks only at what has changed.
"""

import json
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from slowfast_gta.data_check.clean import build_clean, check_target
from slowfast_gta.data_check.examine import DECODE, ExamineJob, examine, stamp_of
from slowfast_gta.data_check.rules import (
    KINDS,
    Finding,
    Records,
    label_findings,
    num_classes_of,
    official_size,
    order_findings,
    pair_findings,
    size_findings,
    video_findings,
)
from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.records import ListError, VideoDataset, VideoRecord
from slowfast_gta.errors import DataError, Interrupted, RunError, counted
from slowfast_gta.files import write_whole
from slowfast_gta.processes.isolated import Lost, in_isolation

_REPORT_EVERY_SEC = 5.0

ReportProgress = Callable[[str], None]


def check_data(
    cfg: CfgNode,
    output: Path,
    decode: str,
    workers: int,
    timeout_sec: float,
    report_progress: ReportProgress,
    function: Callable[[ExamineJob], dict] = examine,
    clean_folder: Path | None = None,
) -> dict:
    """The report, as it is written to `output`. `function` examines one video, in its own process. Lists without what
    was found go into `clean_folder`.

    Raises ConfigError for data sets that are not registered, DataError where the lists cannot be written, Interrupted
    for Ctrl-C.
    """
    if clean_folder:
        check_target(clean_folder, cfg.DATA.PATH_TO_DATA_DIR)
    findings: list[Finding] = []
    datasets, splits = _load_splits(cfg, findings)
    jobs = {}
    for record in chain(*splits.values()):
        job = ExamineJob(record.path, record.span, decode, cfg.DATA.NUM_FRAMES, cfg.DATA.FRAME_PATTERN)
        jobs[job.key] = job
    journal = _Journal(output.with_suffix(".videos.jsonl"))
    num_known = _examine(list(jobs.values()), journal, workers, timeout_sec, report_progress, function)

    def facts(record: VideoRecord) -> dict:
        return journal.facts[ExamineJob(record.path, record.span, decode, 0, cfg.DATA.FRAME_PATTERN).key]

    for split, records in splits.items():
        findings += label_findings(datasets[split], split, records)
        findings += size_findings(datasets[split], split, records)
        findings += video_findings(split, records, facts, _build_clip_frames(cfg))
    findings += pair_findings(splits, facts)
    report = {
        "decode": decode,
        "splits": {split: _describe(datasets[split], split, records, facts) for split, records in splits.items()},
        "num_videos": len(jobs),
        "num_known_before": num_known,
        **_by_kind(findings),
    }
    write_whole(output, json.dumps(report, indent=1))
    if clean_folder:
        cleaned = build_clean(cfg, datasets, splits, findings, clean_folder)
        report_progress(str(cleaned))
        report["cleaned"] = cleaned.mark | {"config": str(cleaned.config), "unsolved": cleaned.unsolved}
        write_whole(output, json.dumps(report, indent=1))
    return report


def _load_splits(cfg: CfgNode, findings: list[Finding]) -> tuple[dict[str, VideoDataset], Records]:
    """The data set and the records of every split that `cfg` uses; what cannot be read is a finding."""
    names = {"train": cfg.TRAIN.DATASET, "val": cfg.TRAIN.DATASET} if cfg.TRAIN.ENABLE else {}
    names |= {"test": cfg.TEST.DATASET} if cfg.TEST.ENABLE else {}
    datasets, splits, checked = {}, {}, set()
    for split, name in names.items():
        key = "TEST.DATASET" if split == "test" else "TRAIN.DATASET"
        dataset = DATASET_REGISTRY.find(name, key).from_cfg(cfg)
        try:
            if name not in checked:
                checked.add(name)
                findings += _check_classes(cfg, dataset)
            records = dataset.records(split)
        except DataError as fault:
            made = " This data set is generated when a training on it starts." if dataset.creates_itself else ""
            messages = fault.messages if isinstance(fault, ListError) else [f"{fault}{made}"]
            known = {finding.message for finding in findings}  # val and test may be one list
            findings += [Finding("list", split, message) for message in messages if message not in known]
            continue
        datasets[split], splits[split] = dataset, records
    if splits.get("test") and splits.get("test") == splits.get("val"):
        splits["val, test"] = splits.pop("val")  # one list for both, as Something-Something's
        datasets["val, test"] = datasets["val"]
        del splits["test"]
    return datasets, splits


def _check_classes(cfg: CfgNode, dataset: VideoDataset) -> list[Finding]:
    """Findings on the classes alone."""
    findings = list(order_findings(dataset))
    count = num_classes_of(dataset)
    wanted = cfg.MODEL.NUM_CLASSES
    if count != (tuple(wanted) if isinstance(wanted, list) else wanted):
        name = type(dataset).__name__
        findings.append(
            Finding("classes", "", f"{name} has {counted(count, 'class')}, but MODEL.NUM_CLASSES is {wanted}.")
        )
    return findings


def _build_clip_frames(cfg: CfgNode) -> Callable[[float | None], int]:
    """How many frames of a video of a given fps a clip spans."""
    data = cfg.DATA
    if data.SAMPLING != "dense":
        return lambda fps: data.NUM_FRAMES
    return lambda fps: round(data.NUM_FRAMES * data.SAMPLING_RATE * (fps or data.TARGET_FPS) / data.TARGET_FPS)


def _examine(
    jobs: Sequence[ExamineJob],
    journal: "_Journal",
    workers: int,
    timeout_sec: float,
    report_progress: ReportProgress,
    function: Callable[[ExamineJob], dict],
) -> int:
    """Fill the journal with the facts on `jobs`; returns how many it had before. Raises Interrupted."""
    todo = [job for job in jobs if not journal.knows(job)]
    num_known = len(jobs) - len(todo)
    if num_known:
        report_progress(f"Unchanged since they were last checked: {num_known} of {counted(len(jobs), 'video')}.")
    begin = last = time.monotonic()
    num_faults = 0
    try:
        for done, (job, facts) in enumerate(in_isolation(function, todo, workers, timeout_sec), start=1):
            if isinstance(facts, Lost):
                known = {"decode": job.decode, "stamp": stamp_of(job.path)}
                facts = known | {"kind": "hangs or crashes", "fault": f"{job.path}: {facts}."}
            journal.add(job, facts)
            num_faults += facts["kind"] is not None
            now = time.monotonic()
            if now - last > _REPORT_EVERY_SEC:
                last, rate = now, done / (now - begin)
                left = (len(todo) - done) / rate
                report_progress(
                    f"{done} of {counted(len(todo), 'video')}, {num_faults} bad, {rate:.0f} a second, "
                    f"{_minutes(left)} left"
                )
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped: {journal.num_added} of {counted(len(todo), 'video')} checked.") from None
    finally:
        journal.close()
    return num_known


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class _Journal:
    """What is known of every video, in memory and on disk: a line of JSON for each, written when it is known."""

    def __init__(self, path: Path):
        self.facts: dict[str, dict] = {}
        self.num_added = 0
        whole = 0  # bytes
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
                try:
                    key, facts = json.loads(line)
                    self.facts[key] = facts
                except (ValueError, TypeError, RecursionError):  # the last line of a check that was killed
                    break
                whole += len(line)
            self._file = path.open("ab")
            self._file.truncate(whole)
        except OSError as fault:
            raise RunError(f"{path}: the journal of the check cannot be written ({fault.strerror}).") from None

    def knows(self, job: ExamineJob) -> bool:
        """Whether the video has been looked at as closely, and nobody has touched it since."""
        facts = self.facts.get(job.key)
        if facts is None or DECODE.index(facts["decode"]) < DECODE.index(job.decode):
            return False
        return facts["stamp"] is not None and facts["stamp"] == stamp_of(job.path)

    def add(self, job: ExamineJob, facts: dict) -> None:
        self.facts[job.key] = facts
        self._file.write(json.dumps([job.key, facts]).encode() + b"\n")
        self._file.flush()
        self.num_added += 1

    def close(self) -> None:
        self._file.close()


def _describe(dataset: VideoDataset, split: str, records: Sequence[VideoRecord], facts: Callable) -> dict:
    """Numbers of a split: videos, classes, frames of a video."""
    counts = sorted(
        facts_of_video["num_frames"] for record in records if "num_frames" in (facts_of_video := facts(record))
    )
    frames = {"min": counts[0], "median": counts[len(counts) // 2], "max": counts[-1]} if counts else None
    return {
        "dataset": type(dataset).__name__,
        "num_videos": len(records),
        "num_videos_official": official_size(dataset, split),
        "num_classes": num_classes_of(dataset),
        "num_frames": frames,
    }


def _by_kind(findings: Sequence[Finding]) -> dict:
    """The findings as {"faults": {kind: {"count", "advice", "findings"}}, "remarks": the same, "clean"}."""
    result: dict[str, Any] = {"faults": {}, "remarks": {}}
    for name, kind in KINDS.items():
        rows = [[finding.split, finding.message] for finding in findings if finding.kind == name]
        if rows:
            part = result["faults" if kind.is_fault else "remarks"]
            part[name] = {"count": len(rows), "advice": kind.advice, "findings": rows}
    return result | {"clean": not result["faults"]}

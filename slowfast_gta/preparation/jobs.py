"""Making many files from many others: in parallel, going on where an earlier call ended, and whole or not at all.

What is made has a temporary name, in OUT/.partial, until it is whole. OUT/prepare_data.json says with what settings OUT
was filled, OUT/failed.txt what could not be made, and why.
"""

import contextlib
import errno
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
from tqdm import tqdm

from slowfast_gta.datasets.folders import find_videos
from slowfast_gta.errors import DataError, Interrupted, RunError
from slowfast_gta.files import file_lock, write_whole
from slowfast_gta.processes.isolated import Lost, in_isolation

# What the next file would fail at just the same.
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_LIMIT_SEC = 6 * 3600  # for one video; hours of video take long


@dataclass(frozen=True)
class Job:
    """`target` is to be made from `source`, under the name `temporary` first."""

    source: Path
    target: Path
    temporary: Path


@dataclass(frozen=True)
class Outcome:
    """What became of all jobs."""

    num_made: int
    num_there: int  # made by an earlier call
    failures: dict[str, str]  # source -> why not
    repeated: dict[str, int]  # source -> frames that could not be decoded; the nearest decoded one was used


def make_all(
    make: Callable[[Path, Path], int],
    targets: dict[Path, Path],
    output: Path,
    settings: dict,
    num_workers: int,
    clashes: dict[str, str],
) -> Outcome:
    """make(source, temporary) for each {source: target} whose target is not there yet, in `num_workers` processes.

    `make` travels to other processes; it returns how many frames were replaced by the nearest, and raises DataError
    where a source cannot be used. `clashes`: {source: why not} of sources that are no jobs, and count as failed. Raises
    DataError where `output` holds something else, RunError on a full disk, Interrupted on Ctrl-C.
    """
    with _claimed(output, settings) as temporary_folder:
        jobs = [
            Job(source, target, temporary_folder / f"{number}{target.suffix}")
            for number, (source, target) in enumerate(targets.items())
            if not target.exists()
        ]
        failures, repeated = dict(clashes), {}
        num_there = len(targets) - len(jobs)
        seldom: dict[str, Any] = {} if sys.stderr.isatty() else {"mininterval": 30.0}
        try:
            with tqdm(total=len(targets), initial=num_there, unit="video", desc=str(output), **seldom) as bar:
                for job, done in in_processes(partial(_do, make), jobs, num_workers, _LIMIT_SEC):
                    result, is_fatal = (f"{job.source}: {done}.", False) if isinstance(done, Lost) else done
                    if is_fatal:
                        raise RunError(f"{result} Free space; the same command resumes from what is done.")
                    if isinstance(result, str):
                        failures[str(job.source)] = result
                    elif result:
                        repeated[str(job.source)] = result
                    bar.update()
        except KeyboardInterrupt:
            raise Interrupted(f"Stopped: {bar.n} of {len(targets)} done in {output}.") from None
        finally:
            _write_failures(output / "failed.txt", failures)
    return Outcome(len(jobs) - len(failures) + len(clashes), num_there, failures, repeated)


@contextlib.contextmanager
def _claimed(output: Path, settings: dict) -> Iterator[Path]:
    """The folder for unfinished files in `output`, which is ours alone meanwhile and only filled with `settings`."""
    manifest = output / "prepare_data.json"
    if output.is_dir() and not manifest.exists() and any(output.iterdir()):
        raise DataError(f"{output} is not empty, and was not filled by this command. Name a new folder.")
    output.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(manifest, wait_sec=0))
        except TimeoutError:
            raise DataError(f"{output}: another prepare_data is writing there. Wait until it ends.") from None
        text = manifest.read_text(encoding="utf-8") if manifest.exists() else ""  # without locks it was not made
        _check_settings(manifest, text, settings)
        manifest.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")  # in place: it is what is locked
        folder = output / ".partial"
        shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _check_settings(manifest: Path, text: str, settings: dict) -> None:
    """Raises DataError unless the text of `manifest` is empty or says `settings`."""
    if not text:
        return
    try:
        stored = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise DataError(f"{manifest} was not written by this command. Name a new folder.") from None
    changed = [key for key, value in settings.items() if stored.get(key) != value]
    differences = [f"{key} was {stored.get(key)} and is {settings[key]}" for key in changed]
    if differences:
        raise DataError(
            f"{manifest.parent} was filled with other settings: {'; '.join(differences)}. Name a new folder, or remove "
            "that one."
        )


def _do(make: Callable[[Path, Path], int], job: Job) -> tuple[int | str, bool]:
    """(what `make` returns or what went wrong, whether it would go wrong with every other file too)."""
    try:
        num_repeated = make(job.source, job.temporary)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        job.temporary.replace(job.target)
    except DataError as fault:
        return str(fault), False
    except (OSError, ValueError, RuntimeError, MemoryError, cv2.error, av.error.FFmpegError) as fault:
        reason = getattr(fault, "strerror", None) or f"{type(fault).__name__}: {fault}"
        return f"{job.source}: {reason}.", getattr(fault, "errno", None) in _FATAL
    return num_repeated, False


def in_processes(
    do: Callable[[Any], Any], items: Sequence, num_workers: int, limit_sec: float
) -> Iterator[tuple[Any, Any]]:
    """(item, do(item)) of each; Lost for one that its process died over, which is replaced. Where there would be one
    process alone, it is this one."""
    num_workers = min(num_workers, len(items))
    return in_isolation(do, items, num_workers, limit_sec) if num_workers > 1 else ((item, do(item)) for item in items)


def _write_failures(path: Path, failures: dict[str, str]) -> None:
    """A line for each: source, tab, why. No file where nothing failed."""
    with contextlib.suppress(OSError):  # a full disk has its own sentence
        if failures:
            lines = (f"{source}\t{' '.join(fault.split())}\n" for source, fault in sorted(failures.items()))
            write_whole(path, "".join(lines).encode(errors="backslashreplace"))
        else:
            path.unlink(missing_ok=True)


def find_files(source: Path, output: Path) -> tuple[list[str], Counter]:
    """The video files below `source`, as paths relative to it, and what else there is, counted by kind.

    Raises DataError where there are none, and unless the folders are apart: originals are only read.
    """
    if not source.is_dir():
        state = "is not a folder" if source.exists() else "does not exist"
        raise DataError(f"{source} {state}; name the folder with the videos.")
    here, there = source.resolve(), output.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise DataError(f"{output} and {source} must be two folders, neither inside the other.")
    videos = find_videos(source)
    files = [video for video in videos.videos if not (source / video).is_dir()]
    if not files:
        raise DataError(f"{source}: there is no video file in this folder.")
    if len(files) < len(videos.videos):
        videos.others["folders of frames"] += len(videos.videos) - len(files)
    return files, videos.others


def targets_of(source: Path, output: Path, videos: list[str], suffix: str) -> tuple[dict[Path, Path], dict[str, str]]:
    """({source: target}, {source: why not}): the same tree below `output`, with another `suffix`.

    Of videos that differ by their suffix only, as a.avi and a.mp4, the first keeps the name; where one would be the
    folder that others go into, they do.
    """
    made_of: dict[Path, Path] = {}
    clashes = {}
    for video in videos:
        target = (output / video).with_suffix(suffix)
        if target in made_of:
            clashes[str(source / video)] = f"{source / video}: {target} is already made from {made_of[target].name}."
        else:
            made_of[target] = source / video
    folders = {folder for target in made_of for folder in target.parents}
    for target in sorted(folders & made_of.keys()):  # a.mp4 beside a/b.mp4, where a video becomes a folder
        origin = made_of.pop(target)
        clashes[str(origin)] = f"{origin}: {target} must be the folder of other videos. Rename one of the two."
    return {origin: target for target, origin in made_of.items()}, clashes

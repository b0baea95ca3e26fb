"""annotate: a video or stream with the most likely classes, their scores over time, and where the network looks."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from slowfast_gta.config.arguments import CommandParser, add_network_arguments, check_output, split_sources
from slowfast_gta.errors import ConfigError, counted

if TYPE_CHECKING:  # PyTorch is imported behind the reading of the command line
    from slowfast_gta.inference.annotation import AnnotatedFrame, Annotator
    from slowfast_gta.video.output.sound import Sound, SoundTrack

_EXAMPLES = """examples:
  python tools/annotate.py --cfg runs/gta/config.yaml film.mp4 --output annotated.mp4
  python tools/annotate.py --cfg runs/gta/config.yaml --weights gta.pyth 0 --show --overlay gradcam
  python tools/annotate.py --cfg runs/gta/config.yaml --window 1s --stride 0.25s rtsp://camera/stream --output seen.mkv
  cat film.ts | python tools/annotate.py --cfg runs/gta/config.yaml - --output annotated.mp4

IN is a file, a folder of frames, the number of a camera, a URL, or - for standard input. Without --weights the newest
checkpoint of the run in the config's folder, or in OUTPUT_DIR, is taken. Ctrl-C ends it: what is written by then plays.
docs/annotate.md has more.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the source was read to its end."""
    args = _parse(arguments)
    from slowfast_gta.engine.logging import setup_logging

    setup_logging()
    from slowfast_gta.inference.annotation import build_annotator
    from slowfast_gta.inference.run_folder import load_trained
    from slowfast_gta.reports.style import check_matplotlib
    from slowfast_gta.video.output.writer import container_of

    check_matplotlib("annotate draws on pictures")
    if args.output:
        container_of(args.output)
    cfg, weights = load_trained(args, "annotate")
    check_output(args.output, [args.source, weights, args.cfg[0]])
    annotator = build_annotator(cfg, weights, args.window, args.stride, args.fps, args.overlay)
    _annotate(annotator, weights, args)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser("annotate", description=__doc__, epilog=_EXAMPLES)
    add_network_arguments(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="output file: .mp4, .mov or .mkv")
    parser.add_argument(
        "--show", action="store_true", help="show it live: in ffplay or mpv, or on a web page of this machine"
    )
    parser.add_argument("--overlay", default="none", metavar="WHAT", help="gradcam, attention or none (default: none)")
    parser.add_argument("--topk", type=int, default=3, metavar="K", help="how many classes, at most 5 (default: 3)")
    parser.add_argument(
        "--window",
        metavar="FRAMES",
        help="window length in frames, or in seconds such as 2s (default: the config's, or 2s)",
    )
    parser.add_argument("--stride", metavar="FRAMES", help="from one prediction to the next (default: a quarter of it)")
    parser.add_argument("--fps", type=float, metavar="F", help="frames a second (default: config's or video's)")
    parser.add_argument(
        "--max-latency", type=float, metavar="SEC", help="live sources: drop frames that have waited longer"
    )
    parser.add_argument("sources", nargs="*", metavar="IN", help="a file, folder of frames, camera, URL, or -")
    args = parser.parse_intermixed_args(arguments)  # IN may stand before and behind flags
    args.cfg, behind = split_sources(args.cfg)
    sources = [*behind, *args.sources]
    if len(sources) != 1:
        raise ConfigError(f"annotate takes one IN, not {len(sources)}{': ' * bool(sources)}{', '.join(sources)}.")
    args.source = sources[0]
    if not args.output and not args.show:
        raise ConfigError("No output was requested: give --output FILE, --show, or both.")
    if not 1 <= args.topk <= 5:
        raise ConfigError(f"--topk is {args.topk}; it must be from 1 to 5.")
    if args.max_latency is not None and args.max_latency < 0:
        raise ConfigError(f"--max-latency is {args.max_latency}; it must be a number of seconds.")
    return args


def _annotate(annotator: "Annotator", weights: Path, args: argparse.Namespace) -> None:
    """All of it: each frame is read, drawn on, written and forgotten."""
    from slowfast_gta.engine.logging import progress_of
    from slowfast_gta.inference.windows import Cut
    from slowfast_gta.video.output.sound import LiveSound, open_file_sound
    from slowfast_gta.video.sources import is_live, open_live
    from slowfast_gta.video.stream import open_stream

    live, cut = is_live(args.source), Cut()
    with ExitStack() as stack:
        sound: Sound | None
        stream: Any
        if live:
            stream = stack.enter_context(open_live(args.source, args.max_latency))
            sound = LiveSound(stream.live, stream.shifts) if stream.live.sound is not None and args.output else None
        else:
            stream = stack.enter_context(
                open_stream(args.source, fps=annotator.folder_fps, frame_pattern=annotator.frame_pattern)
            )
            sound = open_file_sound(args.source) if args.output else None
        if sound is not None:
            stack.callback(sound.close)
        done = _Done(stream.fps, sound)
        frames = annotator(stream, cut)
        if stream.num_frames is not None:  # how long a stream will be is not known
            frames = progress_of(frames, "annotating", "frame", total=stream.num_frames)
        try:
            _write_all(annotator, frames, stream.fps, live, done, args)
        finally:  # what is finished at Ctrl-C is reported too
            if done.num_frames:
                _print_outcome(annotator, stream, cut, done, weights, args)


class _Done:
    """What was written so far."""

    def __init__(self, fps: float | None, sound: "Sound | None"):
        self.fps, self.sound = fps, sound
        self.track: SoundTrack | None = None
        self.size: tuple[int, int] = (0, 0)
        self.num_frames, self.end_sec = 0, 0.0
        self.best: list[dict] = []


def _write_all(
    annotator: "Annotator",
    frames: Iterator["AnnotatedFrame"],
    fps: float | None,
    live: bool,
    done: _Done,
    args: argparse.Namespace,
) -> None:
    from slowfast_gta.files import whole_file
    from slowfast_gta.reports.annotation import Panel, with_map
    from slowfast_gta.video.output.writer import VideoWriter, container_of

    with ExitStack() as stack:
        sinks: list[Any] = []
        panel = last = None
        for frame, prediction in frames:
            image = frame.image
            time_sec = frame.time_sec if frame.time_sec == frame.time_sec else frame.index / (fps or 25)
            if panel is None:
                done.size = image.shape[:2]
                panel = Panel(done.size, annotator.network.all_class_names, args.topk)
                if args.output:
                    args.output.parent.mkdir(parents=True, exist_ok=True)
                    file = stack.enter_context(_finished(whole_file(args.output)))
                    writer = VideoWriter(file, container_of(args.output), done.size, fps)
                    stack.callback(_close, writer, done)
                    done.track = _sound_track(writer, args.output, done.sound)
                    sinks.append(writer)
                if args.show:
                    sinks.append(_view(done.size, fps, live))
                    stack.callback(sinks[-1].close)
            if prediction is not None and prediction is not last:
                panel.add(prediction.time_sec, prediction.probabilities)
                last = prediction
            if prediction is not None and prediction.overlay is not None:
                image = with_map(image, prediction.overlay, prediction.box)
            image = panel.draw(image, time_sec)
            sinks = [sink for sink in sinks if _is_taken(sink, image, time_sec)]
            if not sinks:  # the player was closed, and nothing is written
                break
            done.num_frames, done.end_sec = done.num_frames + 1, time_sec
            _copy_sound(done, time_sec)
        if last is not None:
            done.best = annotator.network.top5(last.probabilities)


def _is_taken(sink: Any, image: Any, time_sec: float) -> bool:
    """Whether a frame was written; False where it is a player that somebody has closed."""
    from slowfast_gta.video.output.view import PlayerClosed

    try:
        sink.write(image, time_sec)
    except PlayerClosed:
        return False
    return True


@contextmanager
def _finished(opened: AbstractContextManager[IO]) -> Iterator[IO]:
    """A file that takes its name also where Ctrl-C ends the block; not where something else does."""
    stopped = None
    with opened as file:
        try:
            yield file
        except KeyboardInterrupt as fault:
            stopped = fault
    if stopped is not None:
        raise stopped


def _sound_track(writer: Any, output: Path, sound: "Sound | None") -> "SoundTrack | None":
    from slowfast_gta.video.output.sound import SoundTrack
    from slowfast_gta.video.output.writer import container_of

    if sound is None or sound.stream is None:
        return None
    return SoundTrack(writer.container, container_of(output), sound.stream)


def _copy_sound(done: _Done, time_sec: float) -> None:
    """What is heard up to then: pictures and sound stand side by side in the file."""
    if done.track is not None and done.sound is not None:
        for packet, zero_sec in done.sound.until(time_sec):
            done.track.put(packet, zero_sec)


def _close(writer: Any, done: _Done) -> None:
    lasting = 1 / done.fps if done.fps else 0.04
    _copy_sound(done, done.end_sec + lasting)
    if done.track is not None:
        done.track.close()
    writer.close()


def _view(size: tuple[int, int], fps: float | None, live: bool) -> Any:
    from slowfast_gta.video.output.view import Page, Player, installed_player

    command = installed_player()
    if command is not None:
        return Player(command, size, fps)
    page = Page(paced=not live)
    print(f"Neither ffplay nor mpv is installed: watch it at {page.address} (on this machine).", file=sys.stderr)
    return page


def _print_outcome(
    annotator: "Annotator", stream: Any, cut: Any, done: _Done, weights: Path, args: argparse.Namespace
) -> None:
    counts = {
        "num_broken": stream.num_broken,
        "num_missing": stream.num_missing,
        "num_dropped": getattr(stream, "num_dropped", 0),
        "num_repeated": cut.num_repeated,
        "num_broken_sound": done.track.num_broken if done.track else 0,
        "num_dropped_sound": getattr(done.sound, "num_dropped", 0),
        "num_cut_off": int(stream.fault is not None),
    }
    counts = {name: count for name, count in counts.items() if count}
    sound = done.track.summary if done.track else "none"
    plan = annotator.plan
    if args.json:
        document = {
            "video": args.source,
            "output": str(args.output) if args.output else None,
            "weights": str(weights),
            "num_frames": done.num_frames,
            "end_sec": round(done.end_sec, 4),
            "size": list(done.size),
            "fps": done.fps,
            "sound": sound,
            "window": str(plan.length),
            "stride": str(plan.stride),
            "overlay": annotator.overlay.what if annotator.overlay else None,
            "num_answers": cut.num_windows,
            "top5_at_end": done.best,
            "counts": counts,
            "note": stream.fault,
        }
        print(json.dumps(document, indent=2))
        return
    where = f"{args.output}: " if args.output else ""
    print(
        f"{where}{counted(done.num_frames, 'frame')} of {done.size[1]} x {done.size[0]} pixels, {done.end_sec:.2f} s; "
        f"{counted(cut.num_windows, 'prediction')}, a window of {plan.length} every {plan.stride}"
        f"{'' if plan.length is not None and plan.length.in_seconds else ' frames'}; sound: {sound}."
    )
    if annotator.overlay:
        print(f"Overlay: {annotator.overlay.what}.")
    if cut.num_windows == 0:
        print("The video ended before the first prediction: give a shorter --stride.", file=sys.stderr)
    if stream.fault:
        print(f"note: {stream.fault}", file=sys.stderr)
    if counts:
        print(", ".join(f"{name} {count}" for name, count in counts.items()), file=sys.stderr)

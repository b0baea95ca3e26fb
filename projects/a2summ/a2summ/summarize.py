"""summarize: any video, with or without its transcript, to a shorter one and its key sentences."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from slowfast_gta.config.arguments import CommandParser, check_output
from slowfast_gta.errors import ConfigError, RunError, counted

if TYPE_CHECKING:
    from a2summ.frames import FrameNetwork, VideoTimes
    from a2summ.plan import Plan
    from a2summ.summarizer import Summarizer
    from a2summ.text_encoder import SentenceEncoder
    from a2summ.transcript.sentences import Sentence

_EXAMPLES = """examples:
  python projects/a2summ/summarize.py talk.mp4 --transcript talk.srt --output talk_summary --budget 90s
  python projects/a2summ/summarize.py talk.mp4 --transcript talk.srt --output talk_summary --weights runs/a2summ

Without --weights the frames and sentences that are most typical of the video are chosen ("training-free centrality").
"""


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    video: Path
    output: Path
    transcript: Path | None = None
    budget: str = "15%"
    num_sentences: int | None = None
    offset_sec: float = 0.0
    weights: Path | None = None
    network_cfg: Path | None = None
    network_weights: Path | None = None
    text_encoder: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the summary has been written."""
    parser = CommandParser("summarize", description=__doc__, epilog=_EXAMPLES)
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("--transcript", type=Path, metavar="FILE", help=".srt, .vtt, .ass, or .txt without times")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="created if it does not exist")
    parser.add_argument("--budget", default="15%", help="a share such as 15%%, or seconds such as 90s (default: 15%%)")
    parser.add_argument("--sentences", type=int, metavar="K", help="how many key sentences (default: 15 %% of them)")
    parser.add_argument("--offset", type=float, default=0.0, metavar="SEC", help="added to the transcript's times")
    parser.add_argument("--weights", type=Path, metavar="RUN", help="folder of a finished run, or its summarizer.pth")
    parser.add_argument("--network-cfg", type=Path, metavar="YAML", help="config of the network of frame features")
    parser.add_argument("--network-weights", type=Path, metavar="FILE", help="weights of that network")
    parser.add_argument("--text-encoder", type=Path, metavar="FOLDER", help="a sentence-transformers model")
    parser.add_argument("--json", action="store_true", help="print summary.json and nothing else")
    args = vars(parser.parse_args(arguments))
    as_json = args.pop("json")
    request = Request(num_sentences=args.pop("sentences"), offset_sec=args.pop("offset"), **args)
    result = summarize(request)
    print(json.dumps(result, indent=2) if as_json else _as_text(result, request.output))
    return 0


def _as_text(result: dict, output: Path) -> str:
    budget = result["budget"]
    lines = [*result["notes"], *(f"{number} x {what}" for what, number in result["repairs"].items())]
    lines.append(
        f"{len(result['shots_chosen'])} of {counted(result['num_shots'], 'shot')}, {budget['used_sec']:.1f} s of "
        f"{budget['asked_sec']:.1f} s asked, {len(result['key_sentences'])} of "
        f"{counted(result['num_sentences'], 'sentence')}, "
        f"by {result['summarizer']}."
    )
    return "\n".join([*lines, f"Summary: {output / 'index.html'}"])


@dataclass(frozen=True)
class Choice:
    """What a summary shows, before anything is written."""

    result: dict  # summary.json
    plan: "Plan"
    times: "VideoTimes"
    indices: np.ndarray  # (N,), the sampled frames among the original ones
    frame_scores: np.ndarray  # (N,)
    sentences: "list[Sentence]"


class Parts(NamedTuple):
    """What makes numbers of a video and scores of the numbers; several videos may share them."""

    summarizer: "Summarizer"
    network: "FrameNetwork"
    encoder: "SentenceEncoder | None"  # None without a transcript


def summarize(request: Request, parts: Parts | None = None) -> dict:
    """Write everything into request.output; -> what summary.json holds. `parts`: see `choose`. Raises UserError."""
    choice = choose(request, parts)
    _make_folder(request.output)
    _write(request, choice)
    return choice.result


def choose(request: Request, parts: Parts | None = None) -> Choice:
    """Choose, and write nothing. `parts`: those of `build_parts`, if they are not given. Raises UserError."""
    from a2summ import plan as planning
    from a2summ.frames import RATE, read_times
    from a2summ.transcript.read import Transcript, read_transcript
    from a2summ.transcript.sentences import spans_of

    _check(request)
    times = read_times(request.video)
    budget_sec = planning.budget_seconds(request.budget, times.duration_sec)
    transcript = Transcript([])
    if request.transcript is not None:
        transcript = read_transcript(request.transcript, times.duration_sec, request.offset_sec)
    summarizer, network, encoder = parts or build_parts(request)
    indices, features = network(times)
    texts = [sentence.text for sentence in transcript.sentences]
    vectors = np.zeros((0, 1), np.float32) if encoder is None else encoder.encode(texts).numpy()
    spans = spans_of(transcript.sentences, times.times_sec[indices])
    frame_scores, sentence_scores = summarizer(features, vectors, spans)
    starts = np.array([sentence.start_sec for sentence in transcript.sentences])
    shots = planning.find_shots(features, indices, len(times.times_sec))
    shots = planning.divide_shots(shots, times, budget_sec, starts)
    plan = planning.plan_summary(frame_scores, indices, shots, times, budget_sec)
    result = {
        "video": str(request.video),
        "duration_sec": round(times.duration_sec, 3),
        "num_frames": len(times.times_sec),
        "frames_have_times": times.timed,
        "num_sampled": len(indices),
        "rate": RATE,
        "summarizer": summarizer.name,
        "frame_features": {"name": network.name, "digest": network.digest, "dim": network.dim},
        "text_encoder": None if encoder is None else {"name": encoder.name, "digest": encoder.digest},
        "budget": {
            "asked": request.budget,
            "asked_sec": round(plan.budget_sec, 3),
            "used_sec": round(plan.used_sec, 3),
        },
        "num_shots": len(plan.shots),
        "shots_chosen": [_interval(shot, times) for shot in plan.chosen],
        "whole_shots": not plan.is_part,
        "num_sentences": len(texts),
        "key_sentences": planning.key_sentences(sentence_scores, request.num_sentences),
        "repairs": transcript.repairs,
        "notes": [*transcript.warnings, *_notes(request, plan, times)],
        "scores": {
            "sampled_frame": indices.tolist(),
            "sec": np.round(times.times_sec[indices], 3).tolist(),
            "frames": np.round(frame_scores, 6).tolist(),
            "sentences": np.round(sentence_scores, 6).tolist(),
        },
        "shots": [_interval(shot, times) for shot in plan.shots],
        "shot_scores": np.round(plan.values, 6).tolist(),
        "sentences": [vars(sentence) for sentence in transcript.sentences],
    }
    return Choice(result, plan, times, indices, frame_scores, transcript.sentences)


_FILES = ("summary.mp4", "timeline.png", "index.html", "summary.json")
_TEXT_FILES = ("key_sentences.txt", "key_sentences.srt", "summary.srt")  # with a transcript


def _check(request: Request) -> None:
    for name in (*_FILES, *_TEXT_FILES):
        check_output(request.output / name, [given for given in (request.video, request.transcript) if given])
    if request.num_sentences is not None and request.num_sentences < 1:
        raise ConfigError(f"--sentences is {request.num_sentences}; it must be 1 or more.")
    if not np.isfinite(request.offset_sec):
        raise ConfigError(f"--offset is {request.offset_sec}; it must be seconds, for example -2.5.")
    if (request.network_cfg is None) != (request.network_weights is None):
        raise ConfigError("--network-cfg and --network-weights must be given together: a network needs both.")
    if request.num_sentences is not None and request.transcript is None:
        raise ConfigError("--sentences needs a --transcript.")


def build_parts(request: Request) -> Parts:
    """Those that a request asks for. Raises UserError."""
    from a2summ.frames import PlainDescriptor
    from a2summ.summarizer import Centrality
    from a2summ.text_encoder import SentenceEncoder

    if request.weights is not None:
        return _trained_parts(request)
    network = _network(request) if request.network_cfg is not None else PlainDescriptor()
    return Parts(Centrality(), network, None if request.transcript is None else SentenceEncoder(request.text_encoder))


def _network(request: Request) -> "FrameNetwork":
    from a2summ.network import build_network
    from slowfast_gta import load_config

    return build_network(load_config(request.network_cfg), request.network_weights)


def _trained_parts(request: Request) -> Parts:
    import dataclasses
    import tempfile

    from a2summ.frames import RATE, PlainDescriptor
    from a2summ.summarizer import Inputs, load_summarizer
    from a2summ.text_encoder import SentenceEncoder

    summarizer, wanted = load_summarizer(request.weights)
    if request.network_cfg is None and wanted.network_digest == PlainDescriptor.digest:
        network = PlainDescriptor()
    elif request.network_cfg is None:
        if not wanted.network_cfg or not Path(wanted.network_weights).is_file():
            raise ConfigError(
                f"{request.weights}: was trained on frame features of {wanted.network}, whose weights are not at "
                f"{wanted.network_weights or '(not recorded)'}. Give --network-cfg and --network-weights."
            )
        with tempfile.TemporaryDirectory() as folder:
            cfg = Path(folder) / "network.yaml"
            cfg.write_text(wanted.network_cfg, encoding="utf-8")
            given = dataclasses.replace(request, network_cfg=cfg, network_weights=Path(wanted.network_weights))
            network = _network(given)
    else:
        network = _network(request)
    encoder = SentenceEncoder(request.text_encoder)
    found = Inputs(network.name, network.digest, network.dim, encoder.name, encoder.digest, wanted.encoder_dim, RATE)
    wanted.check(found, str(request.weights))
    return Parts(summarizer, network, encoder)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise RunError(f"{path}: the folder cannot be created ({fault.strerror}).") from None


def _interval(shot: tuple[int, int], times) -> dict:
    first, stop = shot
    start_sec, stop_sec = (round(float(times.bounds_sec[index]), 3) for index in (first, stop))
    return {"first_frame": first, "stop_frame": stop, "start_sec": start_sec, "stop_sec": stop_sec}


def _notes(request: Request, plan, times) -> list[str]:
    notes = []
    if request.weights is None:
        notes.append(
            "Without --weights: chosen by training-free centrality, that is, by how typical a moment is of the "
            "whole video; nothing was learned about what people find important."
        )
    if plan.is_part:
        notes.append(f"No whole shot fits into {plan.budget_sec:.1f} s: the best stretch of that length is shown.")
    if plan.budget_sec >= times.duration_sec:
        notes.append(f"The budget of {request.budget} is the whole video, which lasts {times.duration_sec:.1f} s.")
    if not times.has_audio:
        notes.append("The video has no sound.")
    if not times.timed:
        notes.append("This kind of file has no time stamps; a constant frame rate was assumed.")
    return notes


def _write(request: Request, choice: Choice) -> None:
    """All files. summary.json comes last: where it is, the others are."""
    from a2summ import plan as planning
    from a2summ.output.page import write_page
    from a2summ.output.texts import summary_subtitles, write_file, write_key_sentences, write_subtitles
    from a2summ.output.timeline import draw_timeline
    from a2summ.output.video import write_key_frames, write_video

    folder, result, plan, times = request.output, choice.result, choice.plan, choice.times
    sentences, chosen = choice.sentences, result["key_sentences"]
    for name in ("summary.json", *_TEXT_FILES):  # of an earlier summary, which may have had a transcript
        (folder / name).unlink(missing_ok=True)
    for old in (folder / "keyframes").glob("[0-9]*s.jpg"):
        old.unlink()
    result["has_sound"] = write_video(folder / "summary.mp4", times, plan.chosen)
    keys = sorted(set(planning.key_frames(plan, choice.frame_scores, choice.indices)))
    key_files = write_key_frames(folder / "keyframes", times, keys)
    result["keyframes"] = [f"keyframes/{path.name}" for path in key_files]
    title = f"{request.video.name}: {result['summarizer']}"
    picture = draw_timeline(choice.frame_scores, choice.indices, plan, times, sentences, chosen, title)
    write_file(folder / "timeline.png", cv2.imencode(".png", picture)[1].tobytes())
    if sentences:
        write_key_sentences(folder, [sentences[index] for index in chosen], plan, times)
        write_subtitles(folder / "summary.srt", summary_subtitles(sentences, plan, times))
    budget = result["budget"]
    facts = [
        ("Video", f"{request.video.name}, {times.duration_sec:.1f} s, {counted(result['num_frames'], 'frame')}"),
        ("Budget", f"asked {budget['asked']} ({budget['asked_sec']:.1f} s), used {budget['used_sec']:.1f} s"),
        ("Shots", f"{len(plan.chosen)} of {len(plan.shots)}"),
        ("Sentences", f"{len(chosen)} of {len(sentences)}" if sentences else "no transcript"),
        ("Chosen by", result["summarizer"]),
        ("Frame features", result["frame_features"]["name"]),
        ("Text encoder", encoder["name"] if (encoder := result["text_encoder"]) else "none"),
        *((what, str(number)) for what, number in result["repairs"].items()),
    ]
    write_page(
        folder / "index.html",
        request.video.name,
        facts,
        result["notes"],
        folder / "summary.mp4",
        folder / "timeline.png",
        list(zip(key_files, [float(times.times_sec[index]) for index in keys], strict=True)),
        [(sentence.start_sec, sentence.text, number in chosen) for number, sentence in enumerate(sentences)],
    )
    write_file(folder / "summary.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")

"""How long testing takes on random features of THUMOS-14's sizes, and a training step beside a plain implementation."""

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np

# THUMOS-14's test set: 210 videos; lengths drawn to resemble it (median about 250 rows, a tail beyond 750).
NUM_VIDEOS, MEDIAN_ROWS, SPREAD = 210, 250, 0.75
NUM_CLASSES = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one JSON document."""
    parser = argparse.ArgumentParser("benchmark.py", description=__doc__)
    parser.add_argument("what", choices=("test", "proposals", "step"))
    parser.add_argument("--videos", type=int, default=NUM_VIDEOS)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=1, help="refinement steps of the chain that is tested")
    parser.add_argument("--batch", type=int, default=16, help="videos of a training step")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)

    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    measure = {"test": measure_test, "proposals": measure_proposals, "step": measure_step}[args.what]
    print(json.dumps({"what": args.what, "threads": args.threads, **measure(args)}, indent=1))
    return 0


def _lengths(num: int) -> np.ndarray:
    drawn = np.random.default_rng(0).lognormal(np.log(MEDIAN_ROWS), SPREAD, num)
    return np.clip(np.rint(drawn), 20, 3000).astype(int)


def measure_test(args: argparse.Namespace) -> dict[str, float]:
    """The chain of networks on all videos: sampling, networks, proposals, detections, mAP."""
    from asm_loc.features import Features
    from asm_loc.network import ASMLoc
    from asm_loc.refinement import run_chain
    from asm_loc.settings import thumos14
    from asm_loc.timeline import Timeline

    rng, lengths = np.random.default_rng(1), _lengths(args.videos)
    networks = [ASMLoc(args.dim, NUM_CLASSES, step > 0).eval() for step in range(args.steps + 1)]
    detected, begin, cpu = 0, time.perf_counter(), time.process_time()
    reading = 0.0
    for length in lengths:
        start = time.perf_counter()
        rows = rng.standard_normal((length, args.dim)).astype(np.float32)
        reading += time.perf_counter() - start
        detected += len(run_chain(networks, Features(rows, Timeline.uniform(length, 1.0)), thumos14()))
    seconds = time.perf_counter() - begin - reading
    return {
        "networks": len(networks),
        "videos": args.videos,
        "rows": int(lengths.sum()),
        "detections": detected,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def measure_proposals(args: argparse.Namespace) -> dict[str, float]:
    """Upsampling, thresholds, contrast and suppression alone, on smooth random scores; and mAP of what they give."""
    from asm_loc.average_precision import mean_average_precision
    from asm_loc.proposals import VideoScores, make_proposals
    from asm_loc.sampling import sample
    from asm_loc.settings import Options, thumos14
    from asm_loc.timeline import Timeline

    rng, settings, found, truth = np.random.default_rng(2), thumos14().proposals, {}, {}
    cases = []
    for index, length in enumerate(np.minimum(_lengths(args.videos), 750)):
        smooth = lambda n, length=length: _smooth(rng.random((n, length)))  # noqa: E731
        video = np.where(np.arange(NUM_CLASSES) < 2, 0.4, 0.01)
        row_map = sample(np.zeros((length, 1), np.float32), 750).rows
        scores = VideoScores(smooth(NUM_CLASSES).T, smooth(1)[0], video)
        cases.append((f"v{index}", scores, row_map, Timeline.uniform(length, 1.0)))
    begin = time.perf_counter()
    for name, scores, row_map, timeline in cases:
        found[name] = make_proposals(scores, settings.detection_sweeps, row_map, timeline, settings, Options())
    seconds = time.perf_counter() - begin
    truth = {name: segments[rng.random(len(segments)) < 0.1] for name, segments in found.items()}
    begin = time.perf_counter()
    mean_average_precision(truth, found)
    return {
        "videos": args.videos,
        "detections": sum(map(len, found.values())),
        "seconds": round(seconds, 2),
        "mAP_seconds": round(time.perf_counter() - begin, 2),
    }


def _smooth(values: np.ndarray, width: int = 9) -> np.ndarray:
    """Moving average along the last axis, stretched over [0, 1]."""
    smooth = np.stack([np.convolve(row, np.ones(width) / width, "same") for row in values])
    low, high = smooth.min(1, keepdims=True), smooth.max(1, keepdims=True)
    return (smooth - low) / (high - low)


def measure_step(args: argparse.Namespace) -> dict[str, float]:
    """Forward and backward of the two attention layers on THUMOS-14's sizes, and the same with a plain softmax over
    heads x rows x rows; seconds, best of three, and the largest array that is kept for the backward pass."""
    import torch

    from asm_loc.attention import InterAttention, IntraAttention, Proposals

    rows = 750
    intra, inter = IntraAttention(args.dim, 8), InterAttention(args.dim, 8)
    start = torch.randint(0, rows - 40, (args.batch, 40))
    membership = Proposals(start, start + torch.randint(5, 40, (args.batch, 40))).membership(rows)
    x = torch.randn(args.batch, args.dim, rows)

    def plain(layer: IntraAttention, y: torch.Tensor) -> torch.Tensor:
        member = membership.float()
        allowed = torch.bmm(member.transpose(1, 2), member) > 0
        query, key, value = (layer._heads(part(y)) for part in (layer.query, layer.key, layer.value))
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        weights = scores.masked_fill(~allowed[:, None], -torch.inf).softmax(-1).nan_to_num(0.0)
        return y + layer.bn(layer.out((weights @ value).transpose(2, 3).reshape(y.shape)))

    found = {}
    for name, first in (("plain", plain), ("sdpa", lambda layer, y: layer(y, membership))):
        times, kept = [], []
        for _ in range(3):
            begin = time.perf_counter()
            with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.nbytes) or t, lambda t: t):
                y = inter(first(intra, x), membership)
            y.square().mean().backward()
            times.append(time.perf_counter() - begin)
        found[f"{name}_seconds"] = round(min(times), 2)
        found[f"{name}_largest_kept_mib"] = round(max(kept) / 2**20, 1)
    return {"batch": args.batch, "rows": rows, "dim": args.dim, **found}

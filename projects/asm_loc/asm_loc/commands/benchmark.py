"""How long testing takes on random features of THUMOS-14's sizes, and a training step beside a plain implementation."""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from asm_loc.attention import IntraAttention
    from asm_loc.network import ASMLoc

# THUMOS-14's test set: 210 videos; lengths drawn to resemble it (median about 250 rows, a tail beyond 750).
NUM_VIDEOS, MEDIAN_ROWS, SPREAD = 210, 250, 0.75
NUM_CLASSES = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one JSON document."""
    parser = argparse.ArgumentParser("benchmark.py", description=__doc__)
    parser.add_argument("what", choices=("test", "proposals", "step"))
    parser.add_argument("--videos", type=int, default=NUM_VIDEOS)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--chain", type=int, default=0, metavar="N", help="test: the chain of base and N steps")
    parser.add_argument("--batch", type=int, default=16, help="videos of a training step")
    parser.add_argument("--rows", type=int, default=750, help="of each of them")
    parser.add_argument("--pairs", type=int, default=3, help="how often each way is timed")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)

    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    measure = {"test": measure_test, "proposals": measure_proposals, "step": measure_step}[args.what]
    load = round(os.getloadavg()[0], 1)  # of other work: seconds mean little where it is more than 0
    try:
        found = measure(args)
    finally:
        torch.set_num_threads(threads)
    print(json.dumps({"what": args.what, "threads": args.threads, "load": load, **found}, indent=1))
    return 0


def _lengths(num: int) -> np.ndarray:
    drawn = np.random.default_rng(0).lognormal(np.log(MEDIAN_ROWS), SPREAD, num)
    return np.clip(np.rint(drawn), 20, 3000).astype(int)


def measure_test(args: argparse.Namespace) -> dict[str, float]:
    """What a test of the last step does on all videos: sampling by the proposals it is given, the full network,
    detections; with --chain, all networks before it too. Making the random features is not counted."""
    from asm_loc.features import Features
    from asm_loc.network import ASMLoc
    from asm_loc.refinement import detect, run_chain
    from asm_loc.segments import Segments
    from asm_loc.settings import thumos14
    from asm_loc.timeline import Timeline

    rng, lengths, settings = np.random.default_rng(1), _lengths(args.videos), thumos14()
    networks = [ASMLoc(args.dim, NUM_CLASSES, step > 0).eval() for step in range(args.chain + 1)]
    networks = networks if args.chain else [ASMLoc(args.dim, NUM_CLASSES, True).eval()]
    detected, seconds, cpu = 0, 0.0, 0.0
    for length in lengths:
        features = Features(rng.standard_normal((length, args.dim), np.float32), Timeline.uniform(length, 1.0))
        start = rng.uniform(0, length, 15)
        given = Segments(rng.integers(0, 2, 15), start, start + rng.uniform(1, 20, 15), rng.random(15))
        begin, cpu_begin = time.perf_counter(), time.process_time()
        found = (
            run_chain(networks, features, settings) if args.chain else detect(networks[0], features, given, settings)
        )
        detected += len(found)
        seconds, cpu = seconds + time.perf_counter() - begin, cpu + time.process_time() - cpu_begin
    sizes = {"networks": len(networks), "videos": args.videos, "rows": int(lengths.sum()), "detections": detected}
    return {**sizes, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


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
    begin, cpu = time.perf_counter(), time.process_time()
    for name, scores, row_map, timeline in cases:
        found[name] = make_proposals(scores, settings.detection_sweeps, row_map, timeline, settings, Options())
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    truth = {name: segments[rng.random(len(segments)) < 0.1] for name, segments in found.items()}
    begin = time.perf_counter()
    mean_average_precision(truth, found)
    return {
        "videos": args.videos,
        "detections": sum(map(len, found.values())),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "mAP_seconds": round(time.perf_counter() - begin, 2),
    }


def _smooth(values: np.ndarray, width: int = 9) -> np.ndarray:
    """Moving average along the last axis, stretched over [0, 1]."""
    smooth = np.stack([np.convolve(row, np.ones(width) / width, "same") for row in values])
    low, high = smooth.min(1, keepdims=True), smooth.max(1, keepdims=True)
    return (smooth - low) / (high - low)


def measure_step(args: argparse.Namespace) -> dict[str, float]:
    """A whole training step of the full network (forward, losses, backward, Adam) on THUMOS-14's sizes, and the same
    with a plain softmax over heads x rows x rows, turn by turn in one run: seconds, the ratio of each pair, and the
    largest array that is kept for the backward pass."""
    import torch

    from asm_loc.attention import Proposals
    from asm_loc.network import ASMLoc

    network = ASMLoc(args.dim, NUM_CLASSES, with_segments=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, weight_decay=5e-5)
    start = torch.randint(0, args.rows - 40, (args.batch, 40))
    proposals = Proposals(start, start + torch.randint(5, 40, (args.batch, 40)))
    features = torch.randn(args.batch, args.rows, args.dim)
    labels = torch.nn.functional.one_hot(torch.randint(NUM_CLASSES, (args.batch,)), NUM_CLASSES).float()
    target = torch.nn.functional.one_hot(torch.randint(NUM_CLASSES + 1, (args.batch, args.rows)), NUM_CLASSES + 1)
    batch = (features, proposals, labels, target.float())
    ours = network.intra._attend
    ways = {"plain": plain_attention(network.intra), "ours": ours}
    times: dict[str, list[float]] = {way: [] for way in ways}
    kept, cpu = {}, {}
    for _ in range(args.pairs):
        for way, attend in ways.items():
            network.intra._attend = attend
            begin, cpu_begin = time.perf_counter(), time.process_time()
            kept[way] = _step(network, optimizer, batch)
            times[way].append(time.perf_counter() - begin)
            cpu.setdefault(way, []).append(time.process_time() - cpu_begin)
    ratios = [plain / own for plain, own in zip(times["plain"], times["ours"], strict=True)]
    cpu_ratios = [plain / own for plain, own in zip(cpu["plain"], cpu["ours"], strict=True)]
    return {
        "batch": args.batch,
        "rows": args.rows,
        "dim": args.dim,
        "pairs": args.pairs,
        "step_speedup": round(float(np.median(ratios)), 2),
        "step_speedup_cpu_time": round(float(np.median(cpu_ratios)), 2),
        **{f"{way}_seconds": round(float(np.median(times[way])), 2) for way in ways},
        **{f"{way}_largest_kept_mib": round(kept[way] / 2**20, 1) for way in ways},
    }


def plain_attention(layer: "IntraAttention") -> "Callable[[Tensor, Tensor], Tensor]":
    """What `layer` computes, with all weights in memory: softmax over heads x rows x rows."""
    import torch

    def attend(x: "Tensor", allowed: "Tensor") -> "Tensor":
        query, key, value = (layer._heads(part(x)) for part in (layer.query, layer.key, layer.value))
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        weights = scores.masked_fill(~allowed[:, None], -torch.inf).softmax(-1)
        return (weights @ value).transpose(2, 3).reshape(x.shape)

    return attend


def _step(network: "ASMLoc", optimizer: "Optimizer", batch: tuple) -> int:
    """One step; returns the bytes of the largest array that was kept for the backward pass."""
    import torch

    from asm_loc.losses import losses
    from asm_loc.settings import LossSettings

    features, proposals, labels, target = batch
    kept: list[int] = []
    optimizer.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        loss = losses(network(features, proposals), labels, target, LossSettings())["total"].mean()
    loss.backward()
    optimizer.step()
    return max(kept)

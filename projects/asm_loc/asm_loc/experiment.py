"""The synthetic-world experiment: ASM-Loc against multiple-instance learning alone, at equal epochs, and its ablations.

A plain training loop, for this experiment only: a world takes seconds, and dozens are run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from .average_precision import mean_average_precision, recall
from .batches import collate, make_example
from .datasets import VideoSet, for_training
from .losses import losses
from .network import ASMLoc
from .refinement import detect_all, propose_all
from .segments import Segments
from .settings import NetworkSettings, Settings, Sweep, thumos14
from .world import WorldSizes, make_world

LEARNING_RATE, WEIGHT_DECAY, BATCH_SIZE, EPOCHS = 1e-3, 5e-5, 16, 20


def world_settings() -> Settings:
    """THUMOS-14's settings, but for what the world's size asks: rows, heads, and CAS thresholds, whose floor is about
    1 / (K + 1)."""
    settings = thumos14(num_rows=100, network=NetworkSettings(num_heads=4))
    cas, attention = settings.proposals.detection_sweeps
    sweeps = (Sweep(cas.signal, (0.3, 0.4)), attention)
    return replace(settings, proposals=replace(settings.proposals, detection_sweeps=sweeps))


ABLATIONS: dict[str, Callable[[Settings], Settings]] = {
    "without dynamic sampling": lambda s: replace(s, dynamic_sampling=False),
    "without intra attention": lambda s: replace(s, network=replace(s.network, intra=False)),
    "without inter attention": lambda s: replace(s, network=replace(s.network, inter=False)),
    "without uncertainty": lambda s: replace(s, network=replace(s.network, uncertainty=False)),
    "without pseudo labels": lambda s: replace(s, loss=replace(s.loss, instance=0.0)),
}


@dataclass
class Step:
    """A trained network and the proposals that it was given, by video (None: step 0)."""

    network: ASMLoc
    proposals: dict[str, Segments] | None = None
    history: list[float] = field(default_factory=list)


def train_step(
    videos: VideoSet, proposals: dict[str, Segments] | None, settings: Settings, epochs: int, seed: int
) -> Step:
    """One step from fresh weights: the base network without proposals, the full one with."""
    videos = for_training(videos)
    labels, dim = videos.labels(), videos.features(0).rows.shape[1]
    torch.manual_seed(seed)
    network = ASMLoc(dim, len(videos.classes), proposals is not None, settings.network)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    step = Step(network, proposals)
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(videos))
        for at in range(0, len(order), BATCH_SIZE):
            chosen = order[at : at + BATCH_SIZE]
            names = [videos.videos[i].video for i in chosen]
            examples = [
                make_example(
                    videos.features(i), None if proposals is None else proposals[name], settings, labels.shape[1], rng
                )
                for i, name in zip(chosen, names, strict=True)
            ]
            batch = collate(names, examples, labels[chosen])
            terms = losses(network(batch.features, batch.proposals), batch.labels, batch.target, settings.loss)
            optimizer.zero_grad()
            terms["total"].mean().backward()
            optimizer.step()
            step.history.append(float(terms["total"].detach().mean()))
    network.eval()
    return step


@dataclass(frozen=True)
class World:
    train: VideoSet
    test: VideoSet
    short: dict[str, np.ndarray]  # of the test videos' instances


def score(world: World, step: Step, settings: Settings) -> dict[str, float]:
    """In per cent: mAP averaged over tIoU .1 to .7, at .5 and .7; recall of short actions at .5, of long ones at .7."""
    detections = detect_all(step.network, world.test, step.proposals, settings)
    truth = world.test.truth()
    result = mean_average_precision(truth, detections)
    long = {video: ~mask for video, mask in world.short.items()}
    at = dict(zip(result.thresholds, result.per_threshold.tolist(), strict=True))
    values = {
        "mAP .1:.7": result.mean(0.0, 0.75),
        "mAP .5": at[0.5],
        "mAP .7": at[0.7],
        "short recall .5": recall(truth, detections, 0.5, world.short),
        "long recall .7": recall(truth, detections, 0.7, long),
    }
    return {name: 100 * value for name, value in values.items()}


def refine(world: World, step: Step, settings: Settings, epochs: int, seed: int) -> Step:
    """The next step, from the proposals of `step` on the training and on the test videos."""
    given = step.proposals
    proposals = propose_all(step.network, world.train, given, settings, of_true_classes=True)
    proposals |= propose_all(step.network, world.test, given, settings, of_true_classes=False)
    return train_step(world.train, proposals, settings, epochs, seed)


def run_world(
    number: int,
    epochs: int = EPOCHS,
    ablations: Sequence[str] = tuple(ABLATIONS),
    sizes: WorldSizes | None = None,
    num_refinements: int = 2,
) -> dict[str, dict[str, float]]:
    """{what was trained: scores} in one world; the number of the world is also the seed of the networks."""
    world, settings = World(*make_world(number, sizes)), world_settings()
    base = train_step(world.train, None, settings, epochs, number)
    rows = {f"base, {epochs} epochs": score(world, base, settings)}
    mil_epochs = epochs * (1 + num_refinements)
    mil = train_step(world.train, None, settings, mil_epochs, number)
    rows["MIL only"] = score(world, mil, settings)
    for name in ("ASM-Loc", *ablations):
        own = settings if name == "ASM-Loc" else ABLATIONS[name](settings)
        step = base
        for index in range(1, num_refinements + 1):
            step = refine(world, step, own, epochs, number)
            if name == "ASM-Loc" or index == num_refinements:
                rows[f"{name}, step {index}"] = score(world, step, own)
    return rows


# Student's t, two-sided 95 %, for 1 to 9 degrees of freedom.
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval over at most ten worlds; NaN for a single one."""
    mean, num = float(np.mean(values)), len(values)
    if num < 2:
        return mean, math.nan
    return mean, T_95[min(num - 2, len(T_95) - 1)] * float(np.std(values, ddof=1)) / math.sqrt(num)


def interval_table(runs: Sequence[dict[str, dict[str, float]]], form: str = ".1f") -> list[str]:
    """Markdown: mean and half the 95 % interval over `runs` ({row: {column: value}}) of each cell."""
    columns = list(next(iter(runs[0].values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in runs[0]:
        cells = [interval([run[row][name] for run in runs]) for name in columns]
        lines.append(f"| {row} | " + " | ".join(f"{mean:{form}} ± {half:.1f}" for mean, half in cells) + " |")
    return lines

"""The chain of steps: what one network proposes steers the next; the last one's detections are the result."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .attention import Proposals
from .batches import Example, make_example, stack_proposals
from .datasets import VideoSet
from .features import Features
from .network import ASMLoc, Outputs
from .proposals import VideoScores, make_proposals
from .segments import Segments
from .settings import Settings, Sweep


@dataclass(frozen=True)
class VideoOutput:
    """The outputs of one network for one video."""

    scores: VideoScores
    example: Example
    uncertainty: np.ndarray | None


@torch.no_grad()
def run_on_video(network: ASMLoc, features: Features, proposals: Segments | None, settings: Settings) -> VideoOutput:
    """Run a network, in evaluation mode, on all rows of one video. The base network takes no `proposals` (None)."""
    example = make_example(features, proposals, settings)
    weight = network.classifier.weight
    rows = torch.from_numpy(example.features)[None].to(weight.device, weight.dtype)
    placed: Proposals | None = stack_proposals([example])
    outputs: Outputs = network(rows, None if placed is None else placed.to(weight.device))
    # Without the background class; float64 from here on, so that a threshold means the same on every device.
    cas, attention, video = (
        x[0].double().cpu().numpy()
        for x in (outputs.cas[..., :-1], outputs.attention[..., 0], outputs.foreground[:, :-1])
    )
    uncertainty = None if outputs.uncertainty is None else outputs.uncertainty[0].double().cpu().numpy()
    return VideoOutput(VideoScores(cas, attention, video), example, uncertainty)


def segments_of(output: VideoOutput, features: Features, settings: Settings, sweeps: tuple[Sweep, ...]) -> Segments:
    """Proposals (the settings' training sweeps) or detections (their detection sweeps) of one video."""
    options = settings.options
    return make_proposals(output.scores, sweeps, output.example.row_map, features.timeline, settings.proposals, options)


def detect(network: ASMLoc, features: Features, proposals: Segments | None, settings: Settings) -> Segments:
    """The detections of one step's network for one video."""
    output = run_on_video(network, features, proposals, settings)
    return segments_of(output, features, settings, settings.proposals.detection_sweeps)


def propose(network: ASMLoc, features: Features, proposals: Segments | None, settings: Settings) -> Segments:
    """What the next step starts from, for one video."""
    output = run_on_video(network, features, proposals, settings)
    return segments_of(output, features, settings, settings.proposals.training_sweeps)


def propose_all(
    network: ASMLoc, videos: VideoSet, previous: dict[str, Segments] | None, settings: Settings, of_true_classes: bool
) -> dict[str, Segments]:
    """{video: proposals} of a split; `of_true_classes` keeps those of the video's own labels (training videos)."""
    table, found = videos.labels(), {}
    for index, annotation in enumerate(videos.videos):
        earlier = None if previous is None else previous[annotation.video]
        segments = propose(network, videos.features(index), earlier, settings)
        if of_true_classes:
            segments = segments.of_labels(np.flatnonzero(table[index]).tolist())
        found[annotation.video] = segments
    return found


def run_chain(networks: Sequence[ASMLoc], features: Features, settings: Settings) -> Segments:
    """Detections of the last network; each network's proposals feed the next. The first one is a base network."""
    proposals = None
    for network in networks[:-1]:
        proposals = propose(network, features, proposals, settings)
    return detect(networks[-1], features, proposals, settings)


def detect_all(
    network: ASMLoc, videos: VideoSet, proposals: dict[str, Segments] | None, settings: Settings
) -> dict[str, Segments]:
    """{video: detections} of one step's network on a split, given the proposals of the step before (None: step 0)."""
    return {
        a.video: detect(network, videos.features(i), None if proposals is None else proposals[a.video], settings)
        for i, a in enumerate(videos.videos)
    }

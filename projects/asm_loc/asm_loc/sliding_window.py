"""A sliding-window classifier from video-level labels, to compare with: a window is trained on its video's labels."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from .datasets import VideoSet
from .proposals import VideoScores, make_proposals
from .sampling import sample
from .segments import Segments
from .settings import Settings, Sweep, threshold_range

HIDDEN, DROPOUT, ROWS_A_STEP = 256, 0.5, 1024
THRESHOLDS = threshold_range(0.1, 0.9, 0.025)  # of a class's probability


def train_classifier(
    videos: VideoSet, num_steps: int, seed: int, learning_rate: float = 1e-3, weight_decay: float = 5e-5
) -> nn.Module:
    """A network of one hidden layer, rows (N, C) -> logits (N, K). Windows without an action are trained all the same:
    nobody says which they are."""
    torch.manual_seed(seed)
    rows = [videos.features(index).rows for index in range(len(videos))]
    labels = np.repeat(videos.labels(), [len(part) for part in rows], axis=0)
    x, y = torch.from_numpy(np.concatenate(rows)), torch.from_numpy(labels)
    y = y / y.sum(1, keepdim=True)
    network = nn.Sequential(
        nn.Linear(x.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, y.shape[1])
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    rng = np.random.default_rng(seed)
    for _ in range(num_steps):
        chosen = torch.from_numpy(rng.integers(len(x), size=min(ROWS_A_STEP, len(x))))
        loss = nn.functional.cross_entropy(network(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def detect_by_windows(network: nn.Module, videos: VideoSet, settings: Settings) -> dict[str, Segments]:
    """{video: detections}: runs of windows whose probability of a class exceeds one of THRESHOLDS, with the scores and
    the suppression that ASM-Loc's detections have. A video's score of a class is the mean of its highest eighth."""
    own, found = replace(settings.proposals, detection_sweeps=(Sweep("cas", THRESHOLDS),)), {}
    for index, annotation in enumerate(videos.videos):
        features = videos.features(index)
        probabilities = network(torch.from_numpy(features.rows)).softmax(1).double().numpy()
        num = max(len(probabilities) // settings.network.foreground_share, 1)
        video = np.sort(probabilities, 0)[-num:].mean(0)
        scores = VideoScores(probabilities, probabilities.max(1), video)
        rows = sample(features.rows, len(features.rows)).rows
        found[annotation.video] = make_proposals(
            scores, own.detection_sweeps, rows, features.timeline, own, settings.options
        )
    return found

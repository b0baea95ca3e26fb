"""The numbers of a run, as frozen dataclasses; `thumos14()` and `activitynet13()` are the published settings."""

from dataclasses import dataclass, field

import numpy as np

RELEASED, CORRECTED = "as_released", "corrected"


def threshold_range(first: float, last: float, step: float) -> tuple[float, ...]:
    """first, first + step, ..., last (inclusive), without the rounding errors of adding up."""
    num = round((last - first) / step) + 1
    return tuple(np.round(first + step * np.arange(num), 6).tolist())


@dataclass(frozen=True)
class Sweep:
    """One signal thresholded several times; each run of points above a threshold is a proposal, scored by contrast.

    The score is mean(inside) - mean(flanks) of `cas_weight` CAS + `attention_weight` A_f, where the thresholded signal
    counts as 0 below its threshold, plus `video_score_weight` times the video's score of the class.
    """

    signal: str  # "cas" or "attention"
    thresholds: tuple[float, ...]
    cas_weight: float = 1.0
    attention_weight: float = 0.0
    flank: float = 0.2  # length of each flank, in lengths of the proposal
    video_score_weight: float = 0.0


@dataclass(frozen=True)
class Options:
    """Where this implementation differs from the released code, each switchable: "as_released" or "corrected".

    snippet_time: the released code takes the value of a snippet to lie at the snippet's start, half a snippet early;
        corrected, at its centre (also when rows are resampled, and when times become rows).
    nms_lengths: the released code adds 1 second to lengths and overlaps; corrected, it does not.
    clipping: the released code leaves segments as they come; corrected, they end where the video's features end.
    """

    snippet_time: str = CORRECTED
    nms_lengths: str = CORRECTED
    clipping: str = CORRECTED

    @classmethod
    def released(cls) -> "Options":
        return cls(RELEASED, RELEASED, RELEASED)


@dataclass(frozen=True)
class ProposalSettings:
    """How scores over time become segments (section "Inference")."""

    detection_sweeps: tuple[Sweep, ...]
    training_sweeps: tuple[Sweep, ...]
    class_threshold: float = 0.25
    nms_threshold: float = 0.45
    upsampling: int = 20


@dataclass(frozen=True)
class SegmentSettings:
    """How proposals steer the next step: dynamic segment sampling, attention."""

    widen: float = 0.5  # delta: each side, in lengths of the segment
    keep_score: float = 0.7  # alpha: share of the cumulative score that is kept for sampling
    stretch: float = 6.0  # gamma: a short segment gets stretch * (2 * widen + 1) rows
    max_proposals: int = 200

    @property
    def num_rows_of_short(self) -> float:
        """L: segments of at most so many snippets are stretched to so many rows."""
        return self.stretch * (2 * self.widen + 1)


@dataclass(frozen=True)
class LossSettings:
    """Weights of E5 and E8."""

    foreground: float = 1.0
    background: float = 0.5
    action_in_background: float = 0.5
    instance: float = 1.0
    uncertainty: float = 0.2  # beta


@dataclass(frozen=True)
class NetworkSettings:
    """E1 to E7, but for the sizes that the data decide."""

    num_heads: int = 8
    dropout: float = 0.7
    foreground_share: int = 8  # the video score is the mean of the R // foreground_share largest
    background_share: int = 3
    embed_dropout: bool = False  # ActivityNet: dropout before E1 and before the attention and uncertainty branches
    intra: bool = True  # parts of the full network, for ablations
    inter: bool = True
    uncertainty: bool = True


@dataclass(frozen=True)
class Settings:
    """Everything that training and testing need besides the data."""

    num_rows: int
    proposals: ProposalSettings
    segments: SegmentSettings = field(default_factory=SegmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    options: Options = field(default_factory=Options)
    dynamic_sampling: bool = True  # off: an ablation


def thumos14(**changes: object) -> Settings:
    """The released settings for THUMOS-14."""
    proposals = ProposalSettings(
        detection_sweeps=(Sweep("cas", (0.15, 0.2)), Sweep("attention", threshold_range(0.1, 0.9, 0.025))),
        training_sweeps=(Sweep("attention", threshold_range(0.4, 0.9, 0.025)),),
    )
    return Settings(**{"num_rows": 750, "proposals": proposals, **changes})


def activitynet13(**changes: object) -> Settings:
    """The released settings for ActivityNet-1.3."""
    mixed = {"cas_weight": 0.7, "attention_weight": 0.3, "flank": 0.15}
    low = (0.005, 0.01, 0.015, 0.02)
    values = {
        "num_rows": 150,
        "proposals": ProposalSettings(
            detection_sweeps=(Sweep("cas", low, **mixed), Sweep("attention", low, **mixed, video_score_weight=0.25)),
            training_sweeps=(Sweep("cas", threshold_range(0.1, 0.3, 0.005), **mixed),),
            class_threshold=0.1,
            nms_threshold=0.9,
        ),
        "segments": SegmentSettings(widen=0.0, keep_score=0.3, stretch=10.0, max_proposals=100),
        "loss": LossSettings(foreground=5.0),
        "network": NetworkSettings(foreground_share=2, background_share=10, embed_dropout=True),
    }
    return Settings(**{**values, **changes})

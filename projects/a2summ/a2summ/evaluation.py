"""The scores of one sample at a time, each beside what chance gets; then their means."""

from collections.abc import Sequence

import numpy as np
import torch

from a2summ.data.articles import TextReference
from a2summ.data.summe_tvsum import UserReference
from a2summ.metrics.chance import chance_f1
from a2summ.metrics.cosine import key_frame_cosine, rescaled_key_frame_cosine
from a2summ.metrics.fscore import f1_of_users
from a2summ.metrics.ranks import by_protocol
from a2summ.metrics.rouge import rouge, top_k
from a2summ.model import Outputs, Scores
from a2summ.samples import Sample
from a2summ.shots.boxes import scores_from_runs
from a2summ.shots.choose import choose_shots, summary_frames

_CHANCE_DRAWS = 10


def frame_scores(scores: Scores, max_iou: float) -> np.ndarray:
    """Of the one sample of a batch: float64 (N,), from the runs where the head predicts runs."""
    probabilities = scores.logits[0].double().sigmoid()
    if scores.offsets is None:
        return probabilities.cpu().numpy()
    probabilities = probabilities * scores.centerness[0].double()
    return scores_from_runs(probabilities.cpu().numpy(), scores.offsets[0].double().cpu().numpy(), max_iou)


def evaluate_sample(sample: Sample, outputs: Outputs, budget: float, max_iou: float, seed: int) -> dict[str, float]:
    """{metric: value} of one sample; "chance_..." is what random scores get on the same shots."""
    if isinstance(sample.reference, UserReference):
        return evaluate_video(sample.reference, frame_scores(outputs.video, max_iou), budget, seed)
    return _evaluate_article(sample, outputs, seed)


def evaluate_video(reference: UserReference, scores: np.ndarray, budget: float, seed: int) -> dict[str, float]:
    """F1 with the users and rank correlations, of scores (T,)."""
    timeline, users = reference.timeline, reference.user_summaries
    summary = summary_frames(choose_shots(scores, timeline, budget), timeline)
    found = f1_of_users(summary, users)
    chance = chance_f1(timeline, users, budget, _CHANCE_DRAWS, seed)
    found |= {f"chance_{name}": value for name, value in chance.items()}
    found["share_used"] = float(summary.mean())
    protocols = ["summe_mean_scores", "summe_csta"] if reference.ratings is None else ["tvsum_ratings"]
    for protocol in protocols:
        ranks = by_protocol(protocol, scores, summary, users, reference.ratings)
        found |= {f"{protocol}/{name}": value for name, value in ranks.items()}
    return found


def _evaluate_article(sample: Sample, outputs: Outputs, seed: int) -> dict[str, float]:
    """ROUGE of the sentences and cosine of the key frames; as many as the reference has (an oracle's number)."""
    reference: TextReference = sample.reference
    generator = np.random.default_rng(seed)
    k = int(sample.sentence_labels.sum())
    of_text = outputs.text.logits[0].double().cpu().numpy()
    found = rouge([reference.sentences[index] for index in top_k(of_text, k)], reference.highlight)
    draws = [np.sort(generator.permutation(len(of_text))[:k]) for _ in range(_CHANCE_DRAWS)]
    chance = [rouge([reference.sentences[index] for index in draw], reference.highlight) for draw in draws]
    found |= {f"chance_{name}": float(np.mean([one[name] for one in chance])) for name in chance[0]}
    if reference.key_frames is None:
        return found
    frames, num_keys = sample.frames.numpy(), len(reference.key_frames)

    def cosine(chosen: np.ndarray) -> float:
        if reference.rescaled:
            return 100 * rescaled_key_frame_cosine(frames, chosen, reference.key_frames)
        return 100 * key_frame_cosine(frames[chosen], reference.key_frames)

    found["cosine"] = cosine(top_k(outputs.video.logits[0].double().cpu().numpy(), num_keys))
    draws = [generator.permutation(len(frames))[:num_keys] for _ in range(_CHANCE_DRAWS)]
    found["chance_cosine"] = float(np.mean([cosine(draw) for draw in draws]))
    return found


def means_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over the samples that have it (a constant has no rank); counts are summed."""
    out = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = np.array([row[name] for row in rows if name in row], np.float64)
        if name.endswith("num_constant"):
            out[name] = int(values.sum())
            continue
        known = values[~np.isnan(values)]
        out[name] = float(known.mean()) if len(known) else float("nan")
    return out


def set_seed_of(sample_id: str) -> int:
    """A number of the sample's name, so that chance is the same in every run and on any number of processes."""
    return int.from_bytes(sample_id.encode()[-7:], "big")


@torch.no_grad()
def run_alone(model: torch.nn.Module, batch) -> Outputs:
    """The outputs of one sample, in eval mode; the mode before comes back."""
    training = model.training
    model.eval()
    try:
        return model(batch)
    finally:
        model.train(training)

"""From runs that the network predicts at each frame to one score a frame: boxes, and the best of overlapping ones.

T frame. A box is [low, high) in sampled frames.
"""

import numpy as np


def scores_from_runs(scores: np.ndarray, offsets: np.ndarray, max_iou: float = 0.4) -> np.ndarray:
    """`scores` (T,) = probability * centerness and `offsets` (T, 2), frames to the left and right -> (T,).

    Scores are divided by their maximum over THIS video. The box of t is [t - left, t + right + 1), clipped and
    rounded; of boxes whose IoU is `max_iou` or more the one with the highest score stays (greedy). A frame gets the
    highest score of the boxes over it, 0 where there is none.
    """
    num_frames = len(scores)
    scores = np.asarray(scores, np.float64) / max(float(np.max(scores)), 1e-8)
    frame = np.arange(num_frames)
    boxes = np.stack([frame - offsets[:, 0], frame + offsets[:, 1] + 1], axis=1)
    boxes = np.clip(boxes, 0, num_frames).round().astype(np.int64)
    out = np.zeros(num_frames)
    for index in suppress(scores, boxes, max_iou):
        low, high = boxes[index]
        out[low:high] = np.maximum(out[low:high], scores[index])
    return out


def suppress(scores: np.ndarray, boxes: np.ndarray, max_iou: float) -> list[int]:
    """Greedy non-maximum suppression in one dimension: the boxes that stay, best first; of equal ones the earlier.

    The union of two boxes is their hull. Empty boxes are left out.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[boxes[order, 0] < boxes[order, 1]]
    kept = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low, high = boxes[best]
        shared = np.minimum(boxes[order, 1], high) - np.maximum(boxes[order, 0], low)
        hull = np.maximum(boxes[order, 1], high) - np.minimum(boxes[order, 0], low)
        order = order[np.maximum(shared, 0) / hull < max_iou]
    return kept

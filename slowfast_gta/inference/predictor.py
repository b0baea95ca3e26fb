"""A trained network on any video: what it shows, as a whole or window by window.

    predictor = Predictor("runs/gta")                  # a run folder: its config, newest weights, class names
    predictor("short.mp4")                             # [{"class", "label", "probability"}], as a test predicts
    for window in predictor.windows("long.mp4"):       # constant memory, whatever the length
        print(window.start_sec, window.end_sec, predictor.top(window.probabilities, k=1))

K classes, of all outputs side by side; T frames of a window; V views.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from fvcore.common.config import CfgNode

from slowfast_gta.config.load import load_config
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.inference.batches import predict_all, read_ahead
from slowfast_gta.inference.network import FEATURES, ClassNames, EvalNetwork, Wanted, build_eval_network, layer_modules
from slowfast_gta.inference.reading import Ending, WindowReader
from slowfast_gta.inference.run_folder import config_of_run, find_weights
from slowfast_gta.inference.windows import Span, plan_windows
from slowfast_gta.loading.clips import TestViews
from slowfast_gta.loading.loader import build_frame_pattern
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform
from slowfast_gta.video.sources import is_live

_MAX_READERS = 8


@dataclass(frozen=True)
class PredictedWindow:
    """One window of a video, and the predictions for it."""

    video: str
    number: int
    start_sec: float
    end_sec: float
    frame_indices: tuple[int, ...]  # (T,) in the video, from 0
    probabilities: np.ndarray  # (K,), of the centre crop
    features: np.ndarray | None = None  # (C,), where asked for
    maps: dict[str, np.ndarray] = field(default_factory=dict)  # attention maps by block, where asked for


class Predictor:
    """A network that is asked about videos. `class_names`: a list, or of several outputs {output: list}."""

    def __init__(
        self,
        run_or_cfg: str | Path | CfgNode,
        weights: str | Path | None = None,
        *,
        trust_plugins: bool = False,
        batch_size: int | None = None,
        precision: str | None = None,
        overrides: Sequence = (),
    ):
        """run_or_cfg: a run folder, or a config of `load_config`, which `weights` must be named for.

        weights: of a run folder, another file than its newest checkpoint.
        trust_plugins: import the PLUGINS of a run that this user has not trained; they are code.
        batch_size: clips at a time, always (TEST.BATCH_SIZE); precision: float32 | bfloat16 | float16
            | float64 (TEST.PRECISION).
        overrides: KEY, VALUE ... over the run folder's config. A GPU is used where there is one.
        Raises UserError.
        """
        if isinstance(run_or_cfg, str | Path):
            path = config_of_run(Path(run_or_cfg).expanduser())
            cfg = load_config(path, ["NUM_GPUS", "auto", *overrides], trust_plugins=trust_plugins)
            weights = find_weights(weights, [str(path)], cfg.OUTPUT_DIR)
        else:
            cfg = run_or_cfg
            if weights is None:
                raise ConfigError("Predictor(cfg) needs weights: Predictor(cfg, 'checkpoint.pyth').")
        self.network: EvalNetwork = build_eval_network(cfg, weights, batch_size, precision)
        self.weights = Path(weights)
        self._views = TestViews(
            [],
            ClipSampling.from_cfg(cfg),
            TestTransform.from_cfg(cfg, cfg.TEST.NUM_SPATIAL_CROPS),
            cfg.TEST.NUM_ENSEMBLE_VIEWS,
        )
        self._views.frame_pattern = build_frame_pattern(cfg)
        self._crop = TestTransform.from_cfg(cfg, 1)
        self._folder_fps = float(cfg.DATA.TARGET_FPS)
        self._num_readers = min(cfg.DATA_LOADER.NUM_WORKERS, _MAX_READERS)

    @property
    def class_names(self) -> ClassNames:
        return self.network.class_names

    # ------------------------------------------------------------------------------------------- a video as a whole

    def __call__(self, path: str | Path, k: int = 5) -> list[dict]:
        """[{"class", "label", "probability"}] of the k most likely classes. Raises DataError where it is no video.

        With several outputs, of the k most likely combinations: {"class": "open door", "label": [2, 8], ...}.
        """
        return self.top(self.scores(VideoRecord(str(path), 0, str(path))), k)

    def scores(self, record: VideoRecord) -> np.ndarray:
        """(K,): the mean over the views of a test, of a video or a part of one. Raises DataError."""
        ((_, prediction),) = self.scores_of([record])
        if isinstance(prediction, DataError):
            raise prediction
        return prediction

    def scores_of(self, records: Iterable[VideoRecord]) -> Iterator[tuple[VideoRecord, np.ndarray | DataError]]:
        """`scores` of each, in order; of one that cannot be read the reason. Batches go across videos."""
        items = read_ahead(self._item, list(records), self._num_readers)
        for (record, fault), outputs in predict_all(items, self.network, Wanted()):
            yield record, fault or outputs["probabilities"].astype(np.float32).mean(0)

    def _item(self, record: VideoRecord) -> Iterator[tuple[tuple[VideoRecord, DataError | None], np.ndarray | None]]:
        views = copy.copy(self._views)
        views.records = [record]
        item = views[0]
        if item.frames is None:
            yield (record, DataError(item.errors[0].reason)), None
        else:
            yield (record, None), item.frames.permute(0, 2, 3, 4, 1).numpy()

    # --------------------------------------------------------------------------------------------- window by window

    def windows(
        self,
        video: str | Path,
        window: int | str | Span | None = None,
        stride: int | str | Span | None = None,
        fps: float | None = None,
        tail: str = "repeat",
        features: bool | str = False,
        maps: bool = False,
        max_latency_sec: float | None = None,
    ) -> Iterator[PredictedWindow]:
        """The windows of a video, folder of frames, camera ("0"), URL or standard input ("-"), in order.

        window, stride: frames at `fps` (the video's own, if None), or seconds as "2s"; by default what the config
        samples (docs/predict.md). features: True, or the name of a layer; maps: attention maps, a pass more for each
        window. max_latency_sec: of a live source, how much may wait before older frames are dropped.
        Raises DataError where it cannot be read, after the windows that could.
        """
        plan = (window, stride, fps, tail)
        for item in self.windows_of([str(video)], *plan, features, maps, max_latency_sec):
            if isinstance(item, PredictedWindow):
                yield item
            elif item.fault is not None:
                raise item.fault

    def windows_of(
        self,
        videos: Sequence[str],
        window: int | str | Span | None = None,
        stride: int | str | Span | None = None,
        fps: float | None = None,
        tail: str = "repeat",
        features: bool | str = False,
        maps: bool = False,
        max_latency_sec: float | None = None,
    ) -> Iterator[PredictedWindow | Ending]:
        """The windows of each video, then its Ending, with what was repeated or dropped, or why it cannot be read.

        Batches go across videos. Where a source is live, a window is classified when it is complete.
        """
        layer = FEATURES if features is True else features or ""
        layer_modules(self.network.model, layer)
        plan = plan_windows(self._views.sampling, window, stride, fps, tail)
        reader = WindowReader(plan, self._crop, self._views.frame_pattern, self._folder_fps, max_latency_sec)
        live = any(map(is_live, videos))
        network = replace(self.network, batch_size=1) if live else self.network
        items = read_ahead(reader, videos, 0 if live else max(1, self._num_readers))
        current = iter(videos)
        video = next(current, "")
        for item, outputs in predict_all(items, network, Wanted(layer=layer)):
            if isinstance(item, Ending):
                yield item
                video = next(current, "")
                continue
            yield PredictedWindow(
                video,
                item.number,
                item.start_sec,
                item.end_sec,
                item.frames,
                outputs["probabilities"][0],
                outputs["features"][0] if layer else None,
                network.maps(item.clips[0]) if maps else {},
            )

    # ----------------------------------------------------------------------------------------------------- classes

    def top(self, probabilities: np.ndarray, k: int = 5) -> list[dict]:
        """(K,) -> [{"class", "label", "probability"}] of the k most likely; with several outputs, of combinations."""
        scores = torch.as_tensor(probabilities).float()
        if isinstance(self.class_names, dict):
            return self._combinations(scores, k)
        top = scores.topk(min(k, len(scores)))
        return [
            {"class": self.class_names[label], "label": label, "probability": round(value, 6)}
            for value, label in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]

    def _combinations(self, scores: torch.Tensor, k: int) -> list[dict]:
        """The same for the products of what each output gives its classes; `scores` has them side by side."""
        assert isinstance(self.class_names, dict)
        names = list(self.class_names.values())
        outputs = scores.split([len(of_output) for of_output in names])
        products = reduce(lambda table, output: table[..., None] * output, outputs)
        top = products.flatten().topk(min(k, products.numel()))
        labels = torch.stack(torch.unravel_index(top.indices, products.shape), dim=1).tolist()
        return [
            {
                "class": " ".join(of_output[index] for of_output, index in zip(names, combination, strict=True)),
                "label": combination,
                "probability": round(value, 6),
            }
            for value, combination in zip(top.values.tolist(), labels, strict=True)
        ]


def build_predictor(
    cfg: CfgNode, weights: str | Path, batch_size: int | None = None, precision: str | None = None
) -> Predictor:
    """The network of `cfg` with `weights`, the views of cfg.TEST, and the names of its classes."""
    return Predictor(cfg, weights, batch_size=batch_size, precision=precision)

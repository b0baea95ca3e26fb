"""What is learned. Training, checkpoints and testing are independent of classification: a Task brings all of it.

Classification is the first one (engine/classification.py); projects bring theirs. The engine gives every Task exact
resume, seeds, several processes, gradient accumulation, mixed precision, EMA, schedules, writers, progress, counts of
bad items, and an orderly end.

    run.train_and_test(cfg, build_task=build)      # build(cfg, earlier_stages) -> Task
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.config.check import check_output_dir
from slowfast_gta.loading.batch import BadVideo


class TaskBatch(Protocol):
    """What a loader yields: one process's share of a step."""

    @property
    def num_samples(self) -> int:
        """That could be read; with 0 the process takes part in the step, and counts nothing."""
        ...

    @property
    def ids(self) -> list[str]:
        """Of the samples, to be named in messages."""
        ...

    @property
    def errors(self) -> list[BadVideo]:
        """What could not be read."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """What became of the samples asked for, by the names of Task.counts."""
        ...

    def to(self, device: torch.device) -> Self:
        """The batch on `device`."""
        ...

    def split(self, num_parts: int) -> Sequence[Self]:
        """The batch in `num_parts` parts, at most one for each sample."""
        ...


class Loader(Protocol):
    """Batches as a pure function of (seed, epoch, step): nothing of it is saved.

    One may have a `digest`, text, of the list that its samples come from: inside an epoch, a resume must find it equal.
    """

    def __len__(self) -> int:
        """Steps of an epoch, the same on all processes."""
        ...

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Any]:
        """The batches of `epoch` from `start_step` on."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """For evaluation: every sample once, shared by the processes."""
        ...


@dataclass(frozen=True)
class Losses:
    """What a batch costs."""

    total: Tensor  # scalar, the mean over the samples: what is minimised
    # By the names of Task.metrics, summed over the samples. A 0-d tensor is better than a number: nobody waits for it.
    sums: Mapping[str, float | Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: on the main process, of all of them."""

    results: dict[str, Any]  # results.json
    arrays: dict[str, np.ndarray]  # scores.npz
    metrics: dict[str, float]  # the few numbers of metrics.jsonl and TensorBoard; Task.score is one of them
    summary: str  # one line for people
    remarks: tuple[str, ...] = ()  # further lines: what was skipped, repeated, missing
    bad_videos: tuple[BadVideo, ...] = ()


class Task:
    """The base of every task. Made of a config by a `build_task` function; holds numbers, never the config.

    It goes to every process before the first batch: what it holds must pickle. `name` stands in logs and checkpoints.
    """

    name = "task"
    metrics: Mapping[str, int] = {}  # what the meter averages over samples besides the loss: its name, and its digits
    counts: tuple[str, ...] = ()  # what batches count
    score = "score"  # which of Evaluation.metrics TRAIN.KEEP_BEST follows; higher is better

    def check(self, cfg: CfgNode) -> None:
        """Before anything is started: raises UserError where paths or files of `cfg` cannot be right."""
        check_output_dir(cfg)

    def prepare(self, cfg: CfgNode, splits: Sequence[str]) -> None:
        """On the main process, while the others wait: check or make the data of `splits` ("train", "val", "test")."""

    def build_loader(self, cfg: CfgNode, split: str) -> Loader:
        """The batches of "train", "val" or "test"."""
        raise NotImplementedError

    def build_model(self, cfg: CfgNode, starting: bool = True) -> nn.Module:
        """The network on the CPU, in training mode; what requires no gradient does not learn. `starting`: with the
        weights that training starts from (False: those of a checkpoint will come)."""
        raise NotImplementedError

    def start(self, cfg: CfgNode, model: nn.Module) -> None:
        """In training, once `model` is on its device: whatever else the loss needs there (a teacher)."""

    def blank(self, cfg: CfgNode) -> Tensor | None:
        """One blank sample as the network is called with it in training (B = 1), on the meta device: what a step needs
        is found from it before the first. None: nothing is found out."""
        return None

    def loss(self, model: nn.Module, batch: Any) -> Losses:
        """The loss of a batch that is on the device of `model`. With no sample: `model` runs on something blank and
        the total is 0 times its output, since every process takes part in every step."""
        raise NotImplementedError

    def forward(self, model: nn.Module, batch: Any) -> None:
        """Run `model` on a batch, for the statistics of its BatchNorms (BN.USE_PRECISE_STATS)."""
        self.loss(model, batch)

    def evaluate(self, model: nn.Module, loader: Any, split: str) -> Evaluation | None:
        """Evaluate on all processes together; what was found on the main one, None on the others."""
        raise NotImplementedError

    def load_weights(self, cfg: CfgNode, model: nn.Module, path: str | Path) -> str:
        """Load the weights to be tested, all of them; returns what results.json calls them."""
        raise NotImplementedError

    def eval_form(self, model: nn.Module) -> nn.Module:
        """The network as it is tested: a faster form with the same outputs."""
        return model

    def format_metrics(self, values: Mapping[str, float]) -> str:
        """The averages of `metrics` for a line of the log."""
        return ", ".join(f"{name} {values[name]:.4g}" for name in self.metrics)

    def describe(self, cfg: CfgNode) -> str:
        """The network in a few words, for the log."""
        return self.name

    def draw(self, output_dir: Path) -> None:
        """After a test, on the main process: pictures and pages of what is in `output_dir`."""

    # ------------------------------------------------------------------------------- what a checkpoint holds

    def entries(self) -> dict[str, Any]:
        """Further entries of every checkpoint: plain values."""
        return {}

    def check_resumed(self, cfg: CfgNode, content: Mapping[str, Any]) -> None:
        """Raises UserError where the checkpoint `content` is not one that this training can go on from."""

    def origin(self, cfg: CfgNode) -> dict[str, Any]:
        """What else the order and content of batches depend on: inside an epoch, a resume must find it equal."""
        return {}

    def saved(self, model: nn.Module) -> frozenset[str] | None:
        """The state-dict names that checkpoints hold; None for all. The rest is in `builds_on`."""
        return None

    def builds_on(self, model: nn.Module) -> dict[str, str]:
        """{name: digest} of what training builds on and checkpoints do not hold. A resume must find it equal."""
        return {}

    def artefacts(self, model: nn.Module, folder: Path) -> bool:
        """After the last epoch, on all processes: write into `folder`, on the main one, the files that a later stage
        starts from. They appear whole, with digests, as OUTPUT_DIR/artefacts. False: there are none."""
        return False


BuildTask = Callable[[CfgNode, Sequence[Path]], Task]
"""(config of a stage, output folders of the stages before it) -> its Task. At module level: it goes to processes.

Where a stage is only looked at, before any is trained, it is given no folders."""

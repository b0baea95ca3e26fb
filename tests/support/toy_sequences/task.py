"""The Task. B sequences, L the longest length among them, C channels."""

import hashlib
import json
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta import distributed
from slowfast_gta.engine.checkpoint.artefacts import load_artefacts
from slowfast_gta.engine.task import Evaluation, Losses, Task
from slowfast_gta.errors import WeightsError
from slowfast_gta.files import write_whole
from slowfast_gta.loading.batch import BadVideo
from slowfast_gta.models.weights.read import load_torch_file

SECTION = CfgNode({"TOY": {"CHANNELS": 6, "HIDDEN": 5, "NUM_SEQUENCES": 22, "BAD": [], "BASE_SEED": 0}})


@dataclass(frozen=True)
class Sequences:
    """A batch."""

    features: Tensor  # (B, L, C), zeros behind the end
    lengths: Tensor  # (B,)
    label: Tensor  # (B,) 1 where it rises
    ids: list[str]
    errors: list[BadVideo] = field(default_factory=list)

    @property
    def num_samples(self) -> int:
        return len(self.label)

    @property
    def counts(self) -> dict[str, int]:
        return {"num_requested": self.num_samples + len(self.errors), "num_skipped": len(self.errors)}

    def to(self, device: torch.device) -> "Sequences":
        return replace(self, features=self.features.to(device), label=self.label.to(device))

    def split(self, num_parts: int) -> Sequence["Sequences"]:
        if self.num_samples <= 1 or num_parts == 1:
            return [self]
        parts = torch.arange(self.num_samples).tensor_split(min(num_parts, self.num_samples))
        return [
            Sequences(self.features[p], self.lengths[p], self.label[p], [self.ids[i] for i in p.tolist()])
            for p in parts
        ]


class SequenceLoader:
    """Sequences that follow from their number; batches that follow from (seed, epoch, step)."""

    def __init__(self, numbers: range, batch_size: int, channels: int, seed: int, bad: Sequence[int], shift: float):
        self.numbers, self.batch_size, self.channels, self.seed = numbers, batch_size, channels, seed
        self.bad, self.shift = frozenset(bad), shift

    def __len__(self) -> int:
        return len(self.numbers) // self.batch_size

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Sequences]:
        order = np.random.default_rng([self.seed, epoch]).permutation(self.numbers)
        rank, world = distributed.get_rank(), distributed.get_world_size()
        share = slice(rank * self.batch_size // world, (rank + 1) * self.batch_size // world)
        for step in range(start_step, len(self)):
            if os.environ.get("TOY_KILLED_AT") == f"{self.shift != 0:d} {epoch} {step} {rank}":
                os.kill(os.getpid(), signal.SIGKILL)  # stage, epoch, step, process: where a test wants it
            yield self._batch(order[step * self.batch_size : (step + 1) * self.batch_size][share].tolist())

    def __iter__(self) -> Iterator[Sequences]:
        for first in range(distributed.get_rank(), len(self.numbers), distributed.get_world_size()):
            yield self._batch([self.numbers[first]])

    def _batch(self, numbers: list[int]) -> Sequences:
        good = [number for number in numbers if number not in self.bad]
        errors = [BadVideo(str(n), f"{n}: it is bad.", str(n), False) for n in numbers if n in self.bad]
        made = [self._sequence(number) for number in good]
        longest = max((len(one) for one in made), default=1)
        features = torch.zeros(len(good), longest, self.channels)
        for row, one in zip(features, made, strict=True):
            row[: len(one)] = one
        lengths = torch.tensor([len(one) for one in made], dtype=torch.long)
        label = torch.tensor([number % 2 for number in good], dtype=torch.long)
        return Sequences(features, lengths, label, [str(number) for number in good], errors)

    def _sequence(self, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(number)
        length = 4 + number % 5
        slope = (1.0 if number % 2 else -1.0) * torch.linspace(-1, 1, length)[:, None]
        return slope + self.shift + 0.3 * torch.randn(length, self.channels, generator=generator)


class Recurrent(nn.Module):
    """A frozen projection, then a GRU and a classifier that learn."""

    def __init__(self, channels: int, hidden: int, base_seed: int):
        super().__init__()
        self.base = nn.Linear(channels, channels)
        generator = torch.Generator().manual_seed(base_seed)
        with torch.no_grad():
            self.base.weight.copy_(torch.randn(channels, channels, generator=generator))
            self.base.bias.zero_()
        self.base.requires_grad_(False)
        self.gru = nn.GRU(channels, hidden, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(hidden, 2)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        states, _ = self.gru(self.base(features))
        last = states[torch.arange(len(lengths)), lengths.to(states.device) - 1]
        return self.classifier(self.dropout(last))


class ToyTask(Task):
    name = "toy sequences"
    metrics = {"accuracy": 4}
    counts = ("num_requested", "num_skipped")
    score = "accuracy"

    def __init__(self, channels: int, shift: float, digest: str):
        """`shift`: what an earlier stage measured, whose artefacts have `digest`."""
        self.channels, self.shift, self.digest = channels, shift, digest

    def build_loader(self, cfg: CfgNode, split: str) -> SequenceLoader:
        numbers = range(cfg.TOY.NUM_SEQUENCES) if split == "train" else range(1000, 1010)
        return SequenceLoader(
            numbers, cfg.TRAIN.BATCH_SIZE, cfg.TOY.CHANNELS, cfg.RNG_SEED, cfg.TOY.BAD, shift=self.shift
        )

    def build_model(self, cfg: CfgNode, starting: bool = True) -> nn.Module:
        return Recurrent(cfg.TOY.CHANNELS, cfg.TOY.HIDDEN, cfg.TOY.BASE_SEED)

    def loss(self, model: nn.Module, batch: Sequences) -> Losses:
        if not batch.num_samples:
            return Losses(0 * model(torch.zeros(1, 1, self.channels), torch.ones(1, dtype=torch.long)).sum())
        logits = model(batch.features, batch.lengths)
        correct = (logits.argmax(1) == batch.label).sum().item()
        return Losses(F.cross_entropy(logits, batch.label), {"accuracy": 100.0 * correct})

    @torch.no_grad()
    def evaluate(self, model: nn.Module, loader: SequenceLoader, split: str) -> Evaluation | None:
        training = model.training
        model.eval()
        rows = []
        for batch in loader:
            logits = model(batch.features, batch.lengths)
            rows += list(zip(batch.ids, logits.tolist(), batch.label.tolist(), strict=True))
        model.train(training)
        rows = sorted(row for part in distributed.gather(rows) for row in part)
        if not distributed.is_main():
            return None
        accuracy = 100 * float(np.mean([np.argmax(logits) == label for _, logits, label in rows]))
        results = {"accuracy": accuracy, "num_sequences": len(rows)}
        arrays = {"logits": np.array([logits for _, logits, _ in rows])}
        return Evaluation(results, arrays, {"accuracy": accuracy}, f"accuracy {accuracy:.1f} %")

    def load_weights(self, cfg: CfgNode, model: nn.Module, path: str | Path) -> str:
        state = load_torch_file(path)["model_state"]
        if set(state) != self.saved(model):
            raise WeightsError(f"{path} is of another network than the config describes.")
        model.load_state_dict(state, strict=False)
        return str(path)

    def saved(self, model: nn.Module) -> frozenset[str]:
        return frozenset(key for key in model.state_dict() if not key.startswith("base."))

    def builds_on(self, model: nn.Module) -> dict[str, str]:
        base = hashlib.sha256(model.base.weight.detach().cpu().numpy().tobytes()).hexdigest()
        return {"base": base, "shift": self.digest}

    def origin(self, cfg: CfgNode) -> dict[str, Any]:
        return {"TOY.NUM_SEQUENCES": cfg.TOY.NUM_SEQUENCES}

    def artefacts(self, model: nn.Module, folder: Path) -> bool:
        if distributed.is_main():
            write_whole(folder / "shift.json", json.dumps(float(model.classifier.bias[0])))
        return True


def build_toy(cfg: CfgNode, earlier: Sequence[Path]) -> ToyTask:
    """The Task of a stage: the second one is shifted by what the first one learned."""
    if not earlier:
        return ToyTask(cfg.TOY.CHANNELS, 0.0, "")
    files, digest = load_artefacts(earlier[-1])
    return ToyTask(cfg.TOY.CHANNELS, json.loads(files["shift.json"].read_text()), digest)

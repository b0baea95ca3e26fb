"""The running average of a network's weights (EMA), and buffers that can be put back: few launches, nothing asked."""

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class RunningAverage:
    """average = decay x average + (1 - decay) x weights after each step, the weights themselves after the first.

    `module` is a copy of the network with the averages as its weights; its buffers are the network's latest.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.module = copy.deepcopy(network)
        self.decay = decay
        # That the host knows of; those that the device decides on are counted by who reads of them.
        self.num_updates = 0
        first = next(network.parameters())
        self._is_empty = torch.ones((), dtype=torch.bool, device=first.device)  # which the device knows before the host

    @torch.no_grad()
    def update(self, network: nn.Module, omitted: Tensor | None = None) -> None:
        """After a step. omitted: 0-d bool on the device, where the host does not know yet whether it was one."""
        share = None if omitted is None else torch.where(self._is_empty, 1.0, 1 - self.decay) * ~omitted
        averages, weights = (_grouped(module.parameters()) for module in (self.module, network))
        for mine, theirs in zip(averages, weights, strict=True):
            if share is not None:
                step = torch._foreach_sub(theirs, mine)
                torch._foreach_mul_(step, share)
                torch._foreach_add_(mine, step)
            elif self.num_updates == 0:
                torch._foreach_copy_(mine, theirs)
            else:
                torch._foreach_lerp_(mine, theirs, 1 - self.decay)
        for mine, theirs in zip(_grouped(self.module.buffers()), _grouped(network.buffers()), strict=True):
            torch._foreach_copy_(mine, theirs)
        if omitted is None:
            self.num_updates += 1
        else:
            self._is_empty &= omitted

    def restored(self, num_updates: int) -> None:
        """`module` has been loaded, after so many updates."""
        self.num_updates = num_updates
        self._is_empty.fill_(num_updates == 0)


class KeptBuffers:
    """The buffers of a network (BatchNorm's statistics) as they are now, one flat copy for each of their types."""

    def __init__(self, network: nn.Module):
        self._groups = _grouped(network.buffers())
        self._kept = [_flat(group) for group in self._groups]

    def put_back(self, where: Tensor | None = None) -> None:
        """All of them; or, on the device, where the 0-d bool `where` is true."""
        for group, kept in zip(self._groups, self._kept, strict=True):
            chosen = kept if where is None else torch.where(where, kept, _flat(group))
            sizes = [buffer.numel() for buffer in group]
            parts = [part.view_as(buffer) for part, buffer in zip(chosen.split(sizes), group, strict=True)]
            torch._foreach_copy_(group, parts)


def _flat(group: Sequence[Tensor]) -> Tensor:
    return torch.cat([buffer.reshape(-1) for buffer in group])


def _grouped(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Of one type and device each, as foreach operations want them."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach())
    return list(groups.values())

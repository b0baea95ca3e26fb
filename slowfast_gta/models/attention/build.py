"""The registry of attention blocks, and the contract that every block keeps.

Shapes: B batch, C channel, T frame, H W space.

A block is a torch.nn.Module registered under its class name:

    @ATTENTION_REGISTRY.register()
    class MyBlock(nn.Module):
        def __init__(self, dim: int, num_frames: int, my_option: int = 4): ...
        def forward(self, x: Tensor) -> Tensor: ...       # (B, C, T, H, W) -> the same shape and dtype

- `dim` is C and `num_frames` is the T that really arrives there. Everything else is an option with a
  default; in YAML the options are the same words in capitals, under ATTENTION.OPTIONS.
- A block whose parameters depend on H and W also takes `spatial_size: tuple[int, int] | None = None`; the
  host gives it the size that arrives there at the training crop.
- A value that an option cannot have is refused with OptionError(sentence, "MY_OPTION"), or a plain ValueError.
- The residual is inside, and the block is the identity when it is new: its last BatchNorm starts with
  weight 0. A block that multiplies by a mask, and so is not, says `identity_at_init = False`.
- A BatchNorm registered right behind a Conv3d is given what that one puts out, and nothing else is: for testing,
  models/fold.py folds the one into the other.
- `returns_mask = True` says that forward(x, return_mask=True) gives (y, mask (B, 1, T, H, W)), for ATTENTION.REFINE.
- A block whose parameters depend on T sets `fixed_num_frames = True` and raises ValueError for another T.
- `time_permutation_equivariant = True` says that for every frame order p, block(x[p]) = block(x)[p].
- `attention_maps(x)` (optional) returns {name: tensor}, what is worth looking at; forward never computes it.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from slowfast_gta.errors import ConfigError, counted
from slowfast_gta.models.layers import OptionError
from slowfast_gta.registry import Registry

RENAMED = {"hands_mask": "returns_mask", "keeps_time_order_blind": "time_permutation_equivariant"}
"""Attributes of this contract in versions before 0.2, and their names now."""


class _Blocks(Registry):
    def _do_register(self, name: str, obj: Any) -> None:
        _refuse_old_names(name, obj)
        super()._do_register(name, obj)


def _refuse_old_names(name: str, block: object) -> None:
    """An attribute that is not read any more would be ignored. Raises ConfigError with its new name."""
    for old, new in RENAMED.items():
        if hasattr(block, old):
            raise ConfigError(
                f"The attention block {name} sets `{old}`, which has been renamed to `{new}`: rename it in the block."
            )


ATTENTION_REGISTRY = _Blocks("ATTENTION")

_GIVEN_BY_HOST = ("dim", "num_frames", "spatial_size")


def accepted_options(name: str) -> dict[str, object]:
    """{option in capitals: its default} of the block registered as `name`."""
    signature = inspect.signature(ATTENTION_REGISTRY.find(name, "ATTENTION.NAME"))
    return {
        key.upper(): parameter.default
        for key, parameter in signature.parameters.items()
        if key not in _GIVEN_BY_HOST and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def unknown_options(name: str, options: Iterable[str]) -> dict[str, str]:
    """{option that the block `name` does not have: that as a sentence}."""
    accepted = accepted_options(name)
    known = ", ".join(sorted(accepted)) or "none"
    unknown = [option for option in options if option not in accepted]
    return {option: f"{name} has no option {option}. It accepts {known}." for option in unknown}


@dataclass(frozen=True)
class AttentionChoice:
    """A block and values of options that it has, to be built wherever it is placed."""

    name: str
    block: Callable[..., nn.Module]
    arguments: Mapping[str, object]  # by the words of the block's signature
    section: str  # of the config that has its options, for errors

    def build(
        self, dim: int, num_frames: int, spatial_size: tuple[int, int] | None = None, where: str = "ATTENTION"
    ) -> nn.Module:
        """The block for (B, dim, num_frames, H, W). Raises ConfigError, which says `where`, for a value it refuses."""
        takes_size = "spatial_size" in inspect.signature(self.block).parameters
        size = {"spatial_size": spatial_size} if takes_size else {}
        try:
            block = self.block(dim, num_frames, **self.arguments, **size)
        except (TypeError, ValueError) as fault:
            refused = fault.options if isinstance(fault, OptionError) else ()
            raise ConfigError(
                f"{where}: {self.name} with {counted(dim, 'channel')} and {counted(num_frames, 'frame')}: {fault}",
                [*(f"{self.section}.{option}" for option in refused), self.section],
            ) from fault
        _refuse_old_names(self.name, block)  # one may be set in __init__
        return block


def choose_attention(
    name: str, options: Mapping[str, object] | None = None, section: str = "ATTENTION.OPTIONS"
) -> AttentionChoice:
    """The block `name` with `options`. Raises ConfigError for an unknown name or an option the block does not have."""
    block = ATTENTION_REGISTRY.find(name, "ATTENTION.NAME")
    given = {key.upper(): value for key, value in (options or {}).items()}
    if unknown := unknown_options(name, given):
        message = "\n".join(f"{section}.{option}: {problem}" for option, problem in unknown.items())
        raise ConfigError(message, [f"{section}.{option}" for option in unknown])
    return AttentionChoice(name, block, {key.lower(): value for key, value in given.items()}, section)


def build_attention(
    name: str,
    dim: int,
    num_frames: int,
    spatial_size: tuple[int, int] | None = None,
    options: Mapping[str, object] | None = None,
    where: str = "ATTENTION",
    section: str = "ATTENTION.OPTIONS",
) -> nn.Module:
    """The block `name` for (B, dim, num_frames, H, W).

    where, section: for errors: the insertion point, and the section of the config that has its options.

    Raises ConfigError for an unknown name, an option the block does not have, or a value it refuses.
    """
    return choose_attention(name, options, section).build(dim, num_frames, spatial_size, where)

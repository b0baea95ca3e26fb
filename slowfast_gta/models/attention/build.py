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
- `hands_mask = True` says that forward(x, return_mask=True) gives (y, mask (B, 1, T, H, W)), for ATTENTION.REFINE.
- A block whose parameters depend on T sets `fixed_num_frames = True` and answers another T with a ValueError.
- `keeps_time_order_blind = True` says that for every frame order p, block(x[p]) = block(x)[p].
- `attention_maps(x)` (optional) returns {name: tensor}, what is worth looking at; forward never computes it.
"""

import inspect

from torch import nn

from slowfast_gta.errors import ConfigError
from slowfast_gta.models.layers import OptionError
from slowfast_gta.registry import Registry

ATTENTION_REGISTRY = Registry("ATTENTION")

_GIVEN_BY_HOST = ("dim", "num_frames", "spatial_size")


def accepted_options(name: str) -> dict[str, object]:
    """{option in capitals: its default} of the block registered as `name`."""
    signature = inspect.signature(ATTENTION_REGISTRY.find(name, "ATTENTION.NAME"))
    return {
        key.upper(): parameter.default
        for key, parameter in signature.parameters.items()
        if key not in _GIVEN_BY_HOST and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def build_attention(
    name: str,
    dim: int,
    num_frames: int,
    spatial_size: tuple[int, int] | None = None,
    options: dict[str, object] | None = None,
    where: str = "ATTENTION",
    section: str = "ATTENTION.OPTIONS",
) -> nn.Module:
    """The block `name` for (B, dim, num_frames, H, W).

    where, section: for errors: the place it is for, and the section of the config that has its options.

    Raises ConfigError for an unknown name, an option the block does not have, or a value it refuses.
    """
    block = ATTENTION_REGISTRY.find(name, "ATTENTION.NAME")
    accepted = accepted_options(name)
    given = {key.upper(): value for key, value in (options or {}).items()}
    unknown = sorted(set(given) - set(accepted))
    if unknown:
        raise ConfigError(
            f"ATTENTION.OPTIONS: {name} has no option {', '.join(unknown)}. "
            f"It accepts {', '.join(sorted(accepted)) or 'none'}.",
            [f"{section}.{option}" for option in unknown],
        )
    arguments = {key.lower(): value for key, value in given.items()}
    if "spatial_size" in inspect.signature(block).parameters:
        arguments["spatial_size"] = spatial_size
    try:
        return block(dim, num_frames, **arguments)
    except (TypeError, ValueError) as fault:
        refused = fault.options if isinstance(fault, OptionError) else ()
        raise ConfigError(
            f"{where}: {name} with {dim} channels and {num_frames} frames: {fault}",
            [*(f"{section}.{option}" for option in refused), section],
        ) from fault

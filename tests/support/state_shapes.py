"""The names and shapes of a state dict's parts, written down as PySlowFast has them."""


def norm_shapes(name: str, dim: int) -> dict[str, tuple]:
    shapes = {f"{name}.{part}": (dim,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def block_shapes(name: str, dim_in: int, inner: int, dim_out: int, frames: int, first: bool) -> dict[str, tuple]:
    """A bottleneck; `first` of its stage has a branch1."""
    shapes = {}
    for conv, shape in (
        ("a", (inner, dim_in, frames, 1, 1)),
        ("b", (inner, inner, 1, 3, 3)),
        ("c", (dim_out, inner, 1, 1, 1)),
    ):
        shapes |= {f"{name}.branch2.{conv}.weight": shape} | norm_shapes(f"{name}.branch2.{conv}_bn", shape[0])
    if first:
        shapes |= {f"{name}.branch1.weight": (dim_out, dim_in, 1, 1, 1)} | norm_shapes(f"{name}.branch1_bn", dim_out)
    return shapes


def nonlocal_shapes(name: str, dim: int) -> dict[str, tuple]:
    shapes = norm_shapes(f"{name}.bn", dim)
    for conv in ("theta", "phi", "g"):
        shapes |= {f"{name}.conv_{conv}.weight": (dim // 2, dim, 1, 1, 1), f"{name}.conv_{conv}.bias": (dim // 2,)}
    return shapes | {f"{name}.conv_out.weight": (dim, dim // 2, 1, 1, 1), f"{name}.conv_out.bias": (dim,)}

"""Stand-ins: a text encoder without a model, and a checkpoint in the layout of the authors'."""

import torch


class Letters:
    """A text encoder for tests: counts of letters. No model is loaded."""

    name, digest, dim = "letters", "letters-1", 26

    def __init__(self, folder=None):
        pass

    def encode(self, texts):
        rows = [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32).reshape(-1, 26), dim=1)


def released_state(dim_video=12, dim_text=7, dim=16, num_layers=2, anchor_free=True, aligned=True, rows=50) -> dict:
    torch.manual_seed(1)
    linear = lambda name, i, o: {f"{name}.weight": torch.randn(o, i), f"{name}.bias": torch.randn(o)}  # noqa: E731
    norm = lambda name: {f"{name}.weight": torch.randn(dim), f"{name}.bias": torch.randn(dim)}  # noqa: E731
    state = {**linear("proj_fc_video.0", dim_video, dim), **linear("proj_fc_text.0", dim_text, dim)}
    state |= {f"pos_embed_{name}": torch.randn(1, rows, dim) for name in ("video", "text")}
    state |= {name: torch.randn(1, 1, dim) for name in ("type_video", "type_text", "cls_token_video", "cls_token_text")}
    if aligned:
        state["pos_embed_segment"] = torch.randn(1, 20, dim)
    layer = {**norm("norm1_fused"), **norm("norm2_video"), **norm("norm2_text")}
    for name in "qkvm":
        layer |= linear(f"attn_fusion.{name}", dim, dim)
    for side in ("video", "text"):
        layer |= linear(f"ffn_{side}.fc1", dim, 4 * dim) | linear(f"ffn_{side}.fc2", 4 * dim, dim)
        state |= norm(f"norm_{side}") | linear(f"fc_{side}.0", dim, dim)
        if anchor_free:
            state |= norm(f"fc_{side}.3") | linear(f"fc_{side}_cls", dim, 1)
            state |= linear(f"fc_{side}_loc", dim, 2) | linear(f"fc_{side}_ctr", dim, 1)
        else:
            state |= linear(f"fc_{side}.3", dim, 1)
    for index in range(num_layers):
        state |= {f"multiway_list.{index}.{name}": value for name, value in layer.items()}
    return state

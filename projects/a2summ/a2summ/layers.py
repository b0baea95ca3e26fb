"""One layer of A2Summ: an attention that both modalities share, then a feed-forward network for each (pre-norm).

B batch, N token (1 + T + 1 + M: CLSV, frames, CLST, sentences), C channel, G heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Scaled dot-product attention among the tokens that a mask lets see each other."""

    def __init__(self, dim: int, num_heads: int = 8, dropout_prob: float = 0.1):
        super().__init__()
        self.num_heads, self.dropout_prob = num_heads, dropout_prob
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.dropout = nn.Dropout(dropout_prob)

    def forward(self, x_BNC: Tensor, sees_BNN: Tensor) -> Tensor:
        """`sees` is True where the query (row) sees the key (column). -> (B, N, C)"""
        query, key, value = (
            project(x_BNC).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        dropped = self.dropout_prob if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, sees_BNN[:, None], dropped)
        return self.dropout(self.out(attended.transpose(1, 2).flatten(2)))


class FeedForward(nn.Sequential):
    """C -> 4C -> C, GELU, dropout after each."""

    def __init__(self, dim: int, dropout_prob: float):
        super().__init__(
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Dropout(dropout_prob),
            nn.Linear(4 * dim, dim),
            nn.Dropout(dropout_prob),
        )


class Layer(nn.Module):
    """x += Attn(LN x) over all tokens; then v += FFN_v(LN_v v) and s += FFN_t(LN_t s)."""

    def __init__(self, dim: int, num_heads: int, dropout_prob: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads, dropout_prob)
        self.norm_video, self.norm_text = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ffn_video, self.ffn_text = FeedForward(dim, dropout_prob), FeedForward(dim, dropout_prob)

    def forward(self, x_BNC: Tensor, sees_BNN: Tensor, num_video: int) -> Tensor:
        """The first `num_video` tokens are the video's (CLSV among them). -> (B, N, C)"""
        x_BNC = x_BNC + self.attention(self.norm(x_BNC), sees_BNN)
        video, text = x_BNC[:, :num_video], x_BNC[:, num_video:]
        video = video + self.ffn_video(self.norm_video(video))
        text = text + self.ffn_text(self.norm_text(text))
        return torch.cat([video, text], dim=1)

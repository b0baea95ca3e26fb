"""Who sees whom: the alignment of frames and sentences in time, as an attention mask.

B batch, T frame, M sentence. Tokens: CLSV, T frames, CLST, M sentences.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def attention_mask(frame_mask: Tensor, sentence_mask: Tensor, alignment: Tensor | None) -> Tensor:
    """bool (B, N, N), N = 1 + T + 1 + M; True where the query (row) sees the key (column).

    Within a modality every token sees its CLS token and the valid tokens. Frame t and sentence j see each other
    exactly where `alignment` (B, T, M) is True; a CLS token never sees the other modality. Without an alignment all
    valid tokens see each other, both CLS tokens too. Padded keys are hidden from all; padded queries keep the keys of
    their modality, since an empty row of a softmax is NaN.
    """
    video, text = (F.pad(mask, (1, 0), value=True) for mask in (frame_mask, sentence_mask))  # the CLS tokens are valid
    num_video, num_text = video.shape[1], text.shape[1]
    if alignment is None:
        valid = torch.cat([video, text], dim=1)
        return valid[:, None, :].expand(-1, num_video + num_text, -1)
    across = F.pad(alignment & frame_mask[:, :, None] & sentence_mask[:, None, :], (1, 0, 1, 0), value=False)
    rows_video = torch.cat([video[:, None].expand(-1, num_video, -1), across], dim=2)
    rows_text = torch.cat([across.transpose(1, 2), text[:, None].expand(-1, num_text, -1)], dim=2)
    return torch.cat([rows_video, rows_text], dim=1)

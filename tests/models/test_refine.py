"""AFR's masks come to the size of the features: the same bits by images as by the adaptive pool, or nearly."""

import pytest
import torch
import torch.nn.functional as F

from slowfast_gta.models.refine import average_to


@pytest.mark.parametrize(
    ("size", "wanted", "exact"),
    [
        ((8, 56, 56), (8, 7, 7), True),
        ((3, 14, 7), (3, 7, 7), True),
        ((1, 4, 4), (1, 1, 2), True),
        ((8, 14, 14), (2, 7, 7), False),
        ((4, 7, 9), (4, 3, 4), True),  # windows that differ
        ((2, 3, 3), (4, 7, 7), True),  # from a smaller one
    ],
)
def test_a_mask_is_averaged_to_the_size_of_the_features(size, wanted, exact):
    torch.manual_seed(0)
    mask = torch.rand(2, 1, *size, requires_grad=True)
    found, expected = average_to(mask, wanted), F.adaptive_avg_pool3d(mask, wanted)
    towards = torch.randn_like(expected)
    (gradient,), (expected_gradient,) = (torch.autograd.grad(pooled, mask, towards) for pooled in (found, expected))
    tolerance = 0 if exact else 1e-6
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=tolerance)

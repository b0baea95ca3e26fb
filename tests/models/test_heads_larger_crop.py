"""Testing at 256 a network built for 224, as PySlowFast does: every 7 x 7 window of res5 is classified by itself."""

import pytest
import torch
import torch.nn.functional as F
from plain import Plain
from randomised import SLOWFAST, small_network
from torch import Tensor, nn


def answer_of_windows(net: Plain, features: list[Tensor], side: int) -> Tensor:
    """The mean over all side x side windows, one position apart, of the softmax of each window's logits."""
    answers = []
    for top in range(features[0].shape[3] - side + 1):
        for left in range(features[0].shape[4] - side + 1):
            windows = [x[:, :, :, top : top + side, left : left + side].mean((2, 3, 4)) for x in features]
            answers.append(F.softmax(net.classes(torch.cat(windows, dim=1)), dim=1))
    return torch.stack(answers).mean(0)


def r2d(crop: int, last_stride: int = 2) -> nn.Module:
    strides = [[1], [2], [2], [last_stride]]
    keys = {"RESNET.DEPTH": 14, "RESNET.SPATIAL_STRIDES": strides, "DATA.NUM_FRAMES": 2}
    return small_network(keys | {"DATA.TRAIN_CROP_SIZE": crop}).eval()


def check_windows(network: nn.Module, height: int, width: int, positions: int, last_stride: int = 2):
    """`network` answers as its res5 in `positions` windows of 7 x 7 does."""
    plain = Plain(network.state_dict(), training=False)
    x = torch.randn(1, 3, 2, height, width, dtype=torch.float64)
    with torch.no_grad():
        features = plain.stem(x)
        for number, stride in ((2, 1), (3, 2), (4, 2), (5, last_stride)):
            features = plain.stage(features, number, 1, stride=stride)
        assert (features.shape[3] - 6) * (features.shape[4] - 6) == positions
        torch.testing.assert_close(network(x), answer_of_windows(plain, [features], 7), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("height", "width", "positions"), [(224, 224, 1), (256, 256, 4), (256, 320, 8)])
def test_r2d_built_for_224(height, width, positions):
    check_windows(r2d(224), height, width, positions)


def test_the_window_is_a_32nd_of_the_training_crop_whatever_res5_has():
    """As in PySlowFast: at 240 it has 8 x 8 positions, and four windows; where it does not shrink, 14 x 14 and 64."""
    check_windows(r2d(240), 240, 240, 4)
    check_windows(r2d(224, last_stride=1), 224, 224, 64, last_stride=1)


def test_slowfast_built_for_64_at_96():
    network = small_network(SLOWFAST).eval()
    plain = Plain(network.state_dict(), training=False)
    x = torch.randn(2, 3, 16, 96, 96, dtype=torch.float64)
    features = []
    network.s5.register_forward_hook(lambda _, __, out: features.extend(out))
    with torch.no_grad():
        answer = network(x)
        assert [tuple(part.shape[2:]) for part in features] == [(4, 3, 3), (16, 3, 3)]
        torch.testing.assert_close(answer, answer_of_windows(plain, features, 2), rtol=1e-10, atol=1e-10)

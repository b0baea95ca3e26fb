"""The head against loops over the positions of a larger crop, and the clips that the networks refuse."""

from itertools import product

import numpy as np
import pytest
import torch
from randomised import SLOWFAST, SMALL, small_network

from slowfast_gta.models.heads import ResNetBasicHead

DIMS, CLASSES = (6, 4), 5
POOLS = [(2, 3, 3), (4, 3, 3)]  # slow and fast pathway


def head_and_features(act: str, sides: tuple[int, int]):
    torch.manual_seed(0)
    head = ResNetBasicHead(list(DIMS), CLASSES, POOLS, act=act).double()
    features = [
        torch.randn(2, dim, pool[0], *sides, dtype=torch.float64) for dim, pool in zip(DIMS, POOLS, strict=True)
    ]
    return head, features


def naive_scores(head: ResNetBasicHead, features: list[torch.Tensor], sides: tuple[int, int]) -> np.ndarray:
    """(positions, B, K): W x + b for the mean over each window of 3 x 3 and all frames."""
    weight, bias = head.projection.weight.detach().numpy(), head.projection.bias.detach().numpy()
    scores = []
    for i, j in product(range(max(1, sides[0] - 2)), range(max(1, sides[1] - 2))):
        windows = [x.numpy()[:, :, :, i : i + 3, j : j + 3].mean((2, 3, 4)) for x in features]
        scores.append([weight @ np.concatenate([w[b] for w in windows]) + bias for b in range(2)])
    return np.array(scores)


SIDES = [(3, 3), (4, 4), (5, 3), (3, 6), (2, 2), (2, 5)]


@pytest.mark.parametrize("sides", SIDES)
def test_training_gives_logits_the_mean_over_positions(sides):
    head, features = head_and_features("softmax", sides)
    expected = naive_scores(head, features, sides).mean(0)
    np.testing.assert_allclose(head.train()(features).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sides", [(3, 3), (5, 4)])
def test_16_bits_are_averaged_on_a_cpu_too(sides, dtype):
    """PyTorch has no avg_pool3d of them there; the average is of float32, rounded once."""
    head, features = head_and_features("none", sides)
    found = head.eval().to(dtype)([x.to(dtype) for x in features])
    rounded = [x.to(dtype).double() for x in features]
    expected = naive_scores(head.double(), rounded, sides).mean(0)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.detach().float().numpy(), expected, atol=0.05)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("act", ["softmax", "sigmoid", "none"])
def test_eval_scores_every_position_and_then_averages(act, sides):
    head, features = head_and_features(act, sides)
    scores = naive_scores(head, features, sides)
    if act == "softmax":
        exponentials = np.exp(scores)
        scores = exponentials / exponentials.sum(2, keepdims=True)
    elif act == "sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    answer = head.eval()(features).detach().numpy()
    np.testing.assert_allclose(answer, scores.mean(0), atol=1e-12)
    if act == "softmax":
        np.testing.assert_allclose(answer.sum(1), 1)


def test_dropout_drops_in_training_only():
    head = ResNetBasicHead([64], CLASSES, [(1, 1, 1)], dropout_rate=0.5)
    x = [torch.ones(1, 64, 1, 1, 1)]
    assert not torch.equal(head.train()(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


@pytest.mark.parametrize("keys", [{}, SLOWFAST | {"RESNET.DEPTH": 14}], ids=["R2D", "SlowFast"])
def test_a_network_gives_logits_in_training_and_probabilities_in_eval(keys):
    network = small_network(keys)
    x = torch.randn(2, 3, network.num_frames, 64, 64, dtype=torch.float64)
    logits = network.train()(x)
    assert logits.shape == (2, SMALL["MODEL.NUM_CLASSES"])
    assert not torch.allclose(logits.sum(1), torch.ones(2, dtype=torch.float64))
    probabilities = network.eval()(x)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, dtype=torch.float64))
    network.head.act = "none"
    torch.testing.assert_close(network(x).softmax(1), probabilities)


@pytest.mark.parametrize("keys", [{}, SLOWFAST], ids=["R2D", "SlowFast"])
@pytest.mark.parametrize("shape", [(1, 3, 7, 64, 64), (1, 1, 4, 64, 64), (3, 4, 64, 64)])
def test_a_wrong_clip_is_refused_with_both_shapes(keys, shape):
    network = small_network(keys)
    with pytest.raises(ValueError, match=r"expects a clip \(B, 3, ") as fault:
        network(torch.zeros(shape, dtype=torch.float64))
    message = str(fault.value)
    assert f"(B, 3, {network.num_frames}, H, W)" in message
    assert str(shape) in message
    assert "DATA.NUM_FRAMES" in message


def test_the_first_weights_of_the_classifier():
    torch.manual_seed(0)
    head = small_network({"MODEL.FC_INIT_STD": 0.2, "MODEL.NUM_CLASSES": 50}).head
    assert head.projection.weight.std().item() == pytest.approx(0.2, rel=0.05)

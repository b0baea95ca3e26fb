"""BatchNorm over parts of a batch, against a plain one on each part."""

import torch
from torch import nn

from slowfast_gta.models.norms import SubBatchNorm3d, split_norms


def norms(num_splits: int) -> tuple[SubBatchNorm3d, nn.BatchNorm3d]:
    torch.manual_seed(0)
    plain = nn.BatchNorm3d(3, eps=0.1, momentum=0.3).double()
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    split = split_norms(nn.Sequential(plain), num_splits)[0]
    assert isinstance(split, SubBatchNorm3d) and split is not plain
    return split, plain


def batch(num_clips: int) -> torch.Tensor:
    return torch.randn(num_clips, 3, 2, 4, 4, dtype=torch.float64) * 2 + torch.arange(num_clips).view(-1, 1, 1, 1, 1)


def test_each_part_is_normalised_by_itself_and_the_statistics_are_their_average():
    split, plain = norms(2)
    x = batch(6)
    means, variances, wanted = [], [], []
    for part in x.split(3):
        one = nn.BatchNorm3d(3, eps=0.1, momentum=0.3).double()
        one.load_state_dict(plain.state_dict())
        wanted.append(one(part))
        means.append(one.running_mean)
        variances.append(one.running_var)
    torch.testing.assert_close(split(x), torch.cat(wanted))
    torch.testing.assert_close(split.running_mean, (means[0] + means[1]) / 2)
    torch.testing.assert_close(split.running_var, (variances[0] + variances[1]) / 2)
    assert split.num_batches_tracked == 1
    assert not torch.allclose(split(x), plain(x)), "the parts differ, so the whole is another"


def test_in_evaluation_and_with_one_part_it_is_a_plain_one_with_its_names():
    split, plain = norms(1)
    x = batch(4)
    torch.testing.assert_close(split(x), plain(x))
    assert list(split.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(split.eval()(x), plain.eval()(x))


def test_parts_may_differ_by_a_clip_and_gradients_reach_all():
    split, _ = norms(4)
    x = batch(6).requires_grad_()
    (split(x) ** 3).sum().backward()
    assert (x.grad.abs().amax((1, 2, 3, 4)) > 0).all()
    one, other = norms(4)[0], norms(2)[0]
    few = batch(2)
    assert one(few).shape == (2, 3, 2, 4, 4), "fewer clips than parts"
    other(few)
    torch.testing.assert_close(one.running_mean, other.running_mean)
    torch.testing.assert_close(one.running_var, other.running_var)


def test_what_is_no_plain_batch_norm_stays():
    class Own(nn.BatchNorm3d):
        pass

    class AsGood(nn.BatchNorm3d):
        replaceable = True

    class OfIt(AsGood):
        pass

    network = nn.Sequential(nn.Sequential(nn.BatchNorm3d(2)), Own(2), nn.LayerNorm(2), AsGood(2), OfIt(2))
    split_norms(network, 2)
    kinds = [type(network[0][0]), *(type(layer) for layer in network[1:])]
    assert kinds == [SubBatchNorm3d, Own, nn.LayerNorm, SubBatchNorm3d, OfIt]


def test_a_backward_pass_that_computes_again_learns_nothing_twice():
    """models/recompute.py takes num_batches_tracked away for the second time."""
    split, _ = norms(2)
    x, before = batch(4), split.running_mean.clone()
    split.num_batches_tracked = None
    split(x)
    assert torch.equal(split.running_mean, before)

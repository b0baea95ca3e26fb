"""The network: exact properties in float64, with BatchNorm scales that are not 0, in evaluation mode."""

import numpy as np
import pytest
import torch
from asm_loc.attention import IntraAttention, Proposals
from asm_loc.network import ASMLoc
from asm_loc.settings import NetworkSettings
from torch.nn import functional as F

from slowfast_gta.errors import ConfigError

DIM, ROWS, CLASSES = 16, 24, 5
TIGHT = {"rtol": 0, "atol": 1e-13}


def spans(*rows):
    """Proposals of one video a row: spans(((first, last), ...), ...)."""
    num = max(1, *(len(r) for r in rows))
    first, last = torch.zeros(len(rows), num, dtype=torch.long), torch.full((len(rows), num), -1)
    for b, row in enumerate(rows):
        for n, (a, z) in enumerate(row):
            first[b, n], last[b, n] = a, z
    return Proposals(first, last)


def make(with_segments=True, zero_bn=False, seed=0):
    torch.manual_seed(seed)
    net = ASMLoc(DIM, CLASSES, with_segments, NetworkSettings(num_heads=4)).double().eval()
    if with_segments and not zero_bn:
        for bn in (net.intra.bn, net.inter.bn):
            for tensor in (bn.weight, bn.bias, bn.running_mean):
                tensor.data.normal_()
            bn.running_var.data.uniform_(0.5, 2)
    return net


@pytest.fixture
def features():
    torch.manual_seed(1)
    return torch.randn(1, ROWS, DIM, dtype=torch.float64)


def attended(net, x, proposals):
    """The two attention layers alone, x (B, R, C)."""
    return net._with_segments(x.transpose(1, 2), proposals).transpose(1, 2)


@pytest.mark.parametrize(("with_segments", "num"), [(False, 12_632_087), (True, 46_213_143)])
def test_number_of_parameters(with_segments, num):
    with torch.device("meta"):
        net = ASMLoc(2048, 20, with_segments)
    assert sum(p.numel() for p in net.parameters()) == num


def naive_scores(net, x):
    """E2 to E4, one row and one class at a time; x (R, C) after E1."""
    attention, logits = [], []
    for row in x:
        a = net.attention.weight[:, :, 0] @ row + net.attention.bias
        attention.append(torch.exp(a) / torch.exp(a).sum())
        logits.append(net.classifier.weight @ row + net.classifier.bias)
    attention, logits = torch.stack(attention), torch.stack(logits)
    video = []
    for branch, share in ((0, 8), (1, 3)):
        weighed = logits * attention[:, branch : branch + 1]
        k = max(len(x) // share, 1)
        top = [sum(sorted(weighed[:, c].tolist())[::-1][:k]) / k for c in range(CLASSES + 1)]
        top = torch.tensor(top, dtype=torch.float64).exp()
        video.append(top / top.sum())
    cas, plain = (logits * attention[:, :1]).exp(), logits.exp()
    return attention, video, cas / cas.sum(1, keepdim=True), plain / plain.sum(1, keepdim=True)


def test_base_network_against_a_loop(features):
    net = make(with_segments=False)
    out = net(features)
    with torch.no_grad():
        padded = F.pad(features[0], (0, 0, 1, 1))
        embedded = []
        for r in range(ROWS):
            taps = sum(net.embed.weight[:, :, j] @ padded[r + j] for j in range(3))
            embedded.append(torch.clamp(taps + net.embed.bias, min=0))
        attention, video, cas, snippet = naive_scores(net, torch.stack(embedded))
    torch.testing.assert_close(out.attention[0], attention, rtol=0, atol=1e-12)
    torch.testing.assert_close(out.foreground[0], video[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(out.background[0], video[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(out.cas[0], cas, rtol=0, atol=1e-12)
    torch.testing.assert_close(out.snippet[0], snippet, rtol=0, atol=1e-12)
    assert out.uncertainty is None


def naive_attention(layer, x, allowed):
    """Softmax attention row by row, head by head; x (L, C), allowed (L, L) -> (L, C) before `out`."""
    q, k, v = ((layer_.weight[:, :, 0] @ x.T).T + layer_.bias for layer_ in (layer.query, layer.key, layer.value))
    size = x.shape[1] // layer.num_heads
    out = torch.zeros_like(x)
    for h in range(layer.num_heads):
        part = slice(h * size, (h + 1) * size)
        for m in range(len(x)):
            others = [n for n in range(len(x)) if allowed[m, n]]
            if others:
                weight = torch.stack([q[m, part] @ k[n, part] * size**-0.5 for n in others]).softmax(0)
                out[m, part] = sum(w * v[n, part] for w, n in zip(weight, others, strict=True))
    return out


def finish(layer, y):
    """BN(O(y)), y (L, C)."""
    y = (layer.out.weight[:, :, 0] @ y.T).T + layer.out.bias
    bn = layer.bn
    return (y - bn.running_mean) / (bn.running_var + bn.eps).sqrt() * bn.weight + bn.bias


def test_attention_against_a_loop(features):
    net, chosen = make(), ((2, 6), (5, 9), (14, 20))
    with torch.no_grad():
        x = features[0]
        together = torch.zeros(ROWS, ROWS, dtype=torch.bool)
        for a, z in chosen:
            together[a : z + 1, a : z + 1] = True
        z_rows = x + finish(net.intra, naive_attention(net.intra, x, together))
        means = torch.stack([z_rows[a : z + 1].mean(0) for a, z in chosen])
        mixed = naive_attention(net.inter, means, torch.ones(3, 3, dtype=torch.bool))
        back = torch.zeros_like(x)
        for r in range(ROWS):
            over = [n for n, (a, z) in enumerate(chosen) if a <= r <= z]
            if over:
                back[r] = mixed[over].mean(0)
        expected = z_rows + finish(net.inter, back)
        torch.testing.assert_close(attended(net, features, spans(chosen))[0], expected, rtol=0, atol=1e-12)


def test_fresh_full_network_is_the_base_network(features):
    base, full = make(with_segments=False), make(zero_bn=True, seed=7)
    full.load_state_dict(base.state_dict(), strict=False)
    for chosen in (((2, 6), (14, 20)), ()):
        a, b = base(features), full(features, spans(chosen))
        for name in ("foreground", "background", "attention", "cas", "snippet"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_padding_and_order_of_proposals_do_not_matter(features):
    net = make()
    some = spans(((2, 6), (5, 9), (14, 20)))
    more = Proposals(F.pad(some.first, (0, 4)), F.pad(some.last, (0, 4), value=-1))
    mixed = spans(((14, 20), (2, 6), (5, 9)))
    expected = attended(net, features, some)
    torch.testing.assert_close(attended(net, features, more), expected, **TIGHT)
    torch.testing.assert_close(attended(net, features, mixed), expected, **TIGHT)


def test_members_of_a_batch_do_not_touch_each_other(features):
    net, other = make(), torch.randn(1, ROWS, DIM, dtype=torch.float64)
    both = attended(net, torch.cat([features, other]), spans(((2, 6), (5, 9)), ()))
    torch.testing.assert_close(both[:1], attended(net, features, spans(((2, 6), (5, 9)))), **TIGHT)
    torch.testing.assert_close(both[1:], attended(net, other, spans(())), **TIGHT)


@pytest.mark.parametrize("training", [False, True])
def test_no_proposals_give_one_constant_and_finite_gradients(features, training):
    net = make().train(training)
    features.requires_grad_()
    change = attended(net, features, spans(())) - features
    torch.testing.assert_close(change, change[:, :1].expand_as(change), **TIGHT)
    out = net(features, spans(()))
    (out.cas.square().sum() + out.foreground[:, 0].sum() + out.uncertainty.sum()).backward()
    grads = [features.grad, *(p.grad for p in net.parameters() if p.grad is not None)]
    assert all(torch.isfinite(g).all() for g in grads)


def test_intra_reaches_no_disjoint_proposal_and_inter_never_the_outside(features):
    net, chosen = make(), spans(((2, 6), (5, 9), (14, 20)))
    changed = features.clone()
    changed[:, 3] += 1
    membership = chosen.membership(ROWS)
    with torch.no_grad():
        intra = [net.intra(x.transpose(1, 2), membership) for x in (features, changed)]
        both = [net.inter(x, membership) for x in intra]
    by_intra = (intra[0] != intra[1]).any(1)[0].nonzero().flatten().tolist()
    by_both = (both[0] != both[1]).any(1)[0].nonzero().flatten().tolist()
    assert by_intra == [2, 3, 4, 5, 6]  # row 7 shares no proposal with row 3
    assert by_both == [*range(2, 10), *range(14, 21)]


def test_one_proposal_over_all_is_plain_attention(features):
    layer = make().intra
    y = layer(features.transpose(1, 2), spans(((0, ROWS - 1),)).membership(ROWS)).transpose(1, 2)[0]
    with torch.no_grad():
        expected = features[0] + finish(layer, naive_attention(layer, features[0], torch.ones(ROWS, ROWS)))
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


def test_rolled_in_time(features):
    net = make()
    here = attended(net, features, spans(((2, 6), (5, 9), (14, 18))))
    there = attended(net, features.roll(3, dims=1), spans(((5, 9), (8, 12), (17, 21))))
    torch.testing.assert_close(there, here.roll(3, dims=1), **TIGHT)


def test_rows_permuted_inside_a_proposal(features):
    net, order = make(), torch.arange(ROWS)
    order[14:21] = order[14:21][torch.tensor([3, 0, 6, 1, 5, 2, 4])]
    chosen = spans(((2, 6), (14, 20)))
    torch.testing.assert_close(
        attended(net, features[:, order], chosen), attended(net, features, chosen)[:, order], **TIGHT
    )
    # Order lives in the first convolution: the whole network does see it.
    assert not torch.allclose(net(features[:, order], chosen).cas, net(features, chosen).cas[:, order])


def test_attention_keeps_no_array_of_heads_by_rows_by_rows():
    layer, rows, videos = IntraAttention(32, 8), 96, 3
    membership = spans(*[((0, 40), (50, 95))] * videos).membership(rows)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        layer(torch.randn(videos, 32, rows, requires_grad=True), membership)
    assert max(kept) <= videos * rows * rows < videos * 8 * rows * rows


def test_whole_row_dropout_and_training_mode(features):
    net = make().train()
    torch.manual_seed(0)
    snippet = net(features, spans(((2, 6),))).snippet[0]
    blank = net.classifier.bias.softmax(0)
    dropped = (snippet - blank).abs().amax(1) < 1e-12
    assert 0.4 < dropped.double().mean() < 0.95  # 0.7 of the rows are dropped whole


def test_activitynet_has_dropout_before_everything():
    torch.manual_seed(0)
    plain = ASMLoc(DIM, CLASSES, True, NetworkSettings(num_heads=4)).double().train()
    noisy = ASMLoc(DIM, CLASSES, True, NetworkSettings(num_heads=4, embed_dropout=True)).double().train()
    x = torch.randn(1, ROWS, DIM, dtype=torch.float64)
    a, b = (plain(x, spans(())).attention for _ in range(2))
    assert torch.equal(a, b)
    a, b = (noisy(x, spans(())).attention for _ in range(2))
    assert not torch.equal(a, b)


def test_heads_that_do_not_divide_the_channels():
    with pytest.raises(ConfigError):
        ASMLoc(20, CLASSES, True)


def test_gradients_reach_every_parameter(features):
    net = make().train()
    out = net(features, spans(((2, 6), (5, 9))))
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal(out.snippet.shape))
    total = (
        (out.snippet * weights).sum() + out.foreground[:, 0].sum() + out.background[:, 1].sum() + out.uncertainty.sum()
    )
    total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    # A bias of the keys moves all scores of a row alike: its gradient is 0 but for rounding.
    still = [n for n, p in net.named_parameters() if p.grad.abs().max() == 0 and not n.endswith("key.bias")]
    assert still == []


def test_mixed_precision_gives_about_the_same_scores(features):
    net, chosen = make().float(), spans(((2, 6), (5, 9), (14, 20)))
    full = net(features.float(), chosen)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = net(features.float(), chosen)
    for name in ("foreground", "attention", "cas", "snippet"):
        assert getattr(mixed, name).dtype == torch.float32
        torch.testing.assert_close(getattr(mixed, name), getattr(full, name), rtol=0, atol=0.05)

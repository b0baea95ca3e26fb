"""GTA with parts that do not learn: what is frozen has no gradient, everything else is as it was."""

import pytest
import torch

from slowfast_gta.errors import ConfigError
from slowfast_gta.models.attention import build_attention
from slowfast_gta.models.attention.gta import HEADS, TemporalMix


def gta(**options):
    torch.manual_seed(3)
    return build_attention("GTA", 16, 4, options={"groups": 2, **options})


@pytest.mark.parametrize("heads", HEADS)
def test_with_the_identity_nothing_is_mixed(heads):
    values = torch.randn(2, 4, 5, 8)
    torch.testing.assert_close(TemporalMix(4, 8, heads, 2, "identity")(values), values, rtol=0, atol=0)


def test_frozen_m_is_the_learned_one_s_start_and_so_is_all_else():
    learned, frozen = gta(), gta(mix="frozen")
    assert list(learned.state_dict()) and {*learned.state_dict()} == {*frozen.state_dict()}
    for name, value in learned.state_dict().items():
        assert torch.equal(value, frozen.state_dict()[name]), name
    matrices = {name for name in dict(learned.named_parameters()) if name.endswith("mix.weight")}
    assert matrices == {*dict(learned.named_parameters())} - {*dict(frozen.named_parameters())}
    assert len(matrices) == 2


def test_with_the_identity_all_else_starts_alike():
    learned, identity = gta().state_dict(), gta(mix="identity").state_dict()
    assert [name for name in learned if not torch.equal(learned[name], identity[name])] == [
        "pixel.mix.weight",
        "region.mix.weight",
    ]


def test_frozen_projections_take_no_gradient():
    free = {name for name, value in gta(freeze_projections=True).named_parameters() if value.requires_grad}
    frozen = {*dict(gta().named_parameters())} - free
    assert frozen == {f"{part}.{name}.weight" for part in ("pixel", "region") for name in ("value", "out")}
    assert {"pixel.mix.weight", "region.mix.weight", "region.assign.weight"} <= free


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match=r"MIX is 'fixed'.* learned, frozen, identity"):
        gta(mix="fixed")


def test_with_the_identity_the_block_is_blind_to_the_order_of_frames():
    torch.manual_seed(0)
    block = gta(mix="identity").double().eval()
    for name, value in block.named_parameters():
        if name.endswith("bn.weight"):
            value.data.normal_()
    x, order = torch.randn(2, 16, 4, 4, 4, dtype=torch.float64), [2, 0, 3, 1]
    torch.testing.assert_close(block(x[:, :, order]), block(x)[:, :, order], rtol=0, atol=1e-10)
    assert not torch.allclose(block(x), x)

"""The authors' checkpoints: names, round trip, and sentences for what does not fit."""

import numpy as np
import pytest
import torch
from asm_loc.network import ASMLoc
from asm_loc.released import from_released_name, load_released, save_released
from asm_loc.settings import NetworkSettings

from slowfast_gta.errors import WeightsError

# Names as the released model has them, written down by hand: (name, shape at C = 16, K = 3).
THUMOS_FULL = {
    "feature_embedding.0.weight": (16, 16, 3),
    "feature_embedding.0.bias": (16,),
    **{
        f"MHSA_{part}.{layer}.{leaf}": (16, 16, 1) if leaf == "weight" else (16,)
        for part in ("Intra", "Inter")
        for layer in ("conv_query", "conv_key", "conv_value", "conv_out")
        for leaf in ("weight", "bias")
    },
    **{
        f"MHSA_{part}.bn.{leaf}": () if leaf == "num_batches_tracked" else (16,)
        for part in ("Intra", "Inter")
        for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    },
    "att_branch.weight": (2, 16, 1),
    "att_branch.bias": (2,),
    "snippet_cls.weight": (4, 16),
    "snippet_cls.bias": (4,),
    "uncertainty_branch.weight": (1, 16, 1),
}


def make(with_segments=True, **settings):
    return ASMLoc(16, 3, with_segments, NetworkSettings(num_heads=4, **settings))


def write(path, state, **more):
    torch.save(
        {"epoch": 100, "model_state_dict": state, "optimizer": {}, "best_test_mAP": np.float64(0.4), **more}, path
    )
    return path


def random_state(names):
    torch.manual_seed(0)
    return {n: torch.randn(s) if s else torch.tensor(7) for n, s in names.items()}


def test_a_released_checkpoint_loads_every_weight(tmp_path):
    net, state = make(), random_state(THUMOS_FULL)
    load_released(net, write(tmp_path / "model_step1_last_epoch.pth", state))
    own = net.state_dict()
    assert len(own) == len(state)
    for name, tensor in state.items():
        assert torch.equal(own[from_released_name(name)], tensor), name


@pytest.mark.parametrize("with_segments", [False, True])
@pytest.mark.parametrize("embed_dropout", [False, True])
def test_round_trip(tmp_path, with_segments, embed_dropout):
    net, again = make(with_segments, embed_dropout=embed_dropout), make(with_segments, embed_dropout=embed_dropout)
    save_released(net, tmp_path / "a.pth", epoch=3)
    names = set(torch.load(tmp_path / "a.pth", weights_only=True)["model_state_dict"])
    expected = {n for n in THUMOS_FULL if with_segments or not n.startswith(("MHSA", "uncertainty"))}
    if embed_dropout:
        expected = {n.replace("feature_embedding.0", "feature_embedding.1") for n in expected}
    assert names == expected
    load_released(again, tmp_path / "a.pth")
    for name, tensor in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_what_does_not_fit(tmp_path):
    state = random_state(THUMOS_FULL)
    path = write(tmp_path / "full.pth", state)
    for network in (make(with_segments=False), ASMLoc(16, 7, True, NetworkSettings(num_heads=4))):
        before = {n: t.clone() for n, t in network.state_dict().items()}
        with pytest.raises(WeightsError):
            load_released(network, path)
        assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
    lacking = {n: t for n, t in state.items() if n != "att_branch.bias"}
    with pytest.raises(WeightsError):
        load_released(make(), write(tmp_path / "lacking.pth", lacking))


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize("content", [b"nothing", None, {"state": 1}, {"model_state_dict": {"a": 1}}, Evil()])
def test_files_that_are_no_checkpoints(tmp_path, capsys, content):
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(WeightsError):
        load_released(make(), path)
    assert "ran" not in capsys.readouterr().out

"""Which parameter decays, and by how much a gradient is clipped."""

import pytest
import torch
from miniatures import CFG, TINY
from torch import nn

from slowfast_gta import build_model, load_config
from slowfast_gta.engine.training.optimizer import (
    build_optimizer,
    clip_gradients,
    learning_parameters,
    set_lr,
)

GTA = ["ATTENTION.NAME", "GTA", "ATTENTION.LOCATION", [[[]], [[0]], [[]], [[]]]]


def optimizer_of(*overrides):
    cfg = load_config(CFG, [*TINY, *GTA, "BN.WEIGHT_DECAY", 0.125, "SOLVER.WEIGHT_DECAY", 0.25, *overrides])
    model = build_model(cfg)
    return model, build_optimizer(cfg, model)


def decay_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Name -> weight decay; fails where a parameter is in no group, or in two."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decays = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names.pop(id(parameter))
            decays[name] = group["weight_decay"]
    assert not names, "these are in no group"
    return decays


@pytest.mark.parametrize("method", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("zero_1d", [False, True])
def test_every_parameter_is_in_one_group_with_its_decay(method, zero_1d):
    model, optimizer = optimizer_of("SOLVER.OPTIMIZING_METHOD", method, "SOLVER.ZERO_WD_1D_PARAM", zero_1d)
    assert type(optimizer) is {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[method]
    decays = decay_of(model, optimizer)
    assert any("attention" in name for name in decays)
    norms = {
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm3d | nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm)
        for part, _ in module.named_parameters()
    }
    assert norms
    for name, parameter in model.named_parameters():
        wanted = 0.125 if name in norms else 0.0 if zero_1d and parameter.ndim == 1 else 0.25
        assert decays[name] == wanted, name


def test_what_takes_no_gradient_is_not_optimized():
    cfg = load_config(CFG, TINY)
    model = build_model(cfg)
    model.s1.requires_grad_(False)
    optimized = sum(len(group["params"]) for group in build_optimizer(cfg, model).param_groups)
    assert optimized == len(list(model.parameters())) - len(list(model.s1.parameters()))


def test_options_reach_the_optimizer():
    _, sgd = optimizer_of("SOLVER.MOMENTUM", 0.5, "SOLVER.NESTEROV", True)
    assert all(group["momentum"] == 0.5 and group["nesterov"] for group in sgd.param_groups)
    _, sgd = optimizer_of("SOLVER.MOMENTUM", 0.5, "SOLVER.NESTEROV", False, "SOLVER.DAMPENING", 0.25)
    assert all(group["dampening"] == 0.25 and not group["nesterov"] for group in sgd.param_groups)
    _, adamw = optimizer_of("SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.BETAS", [0.8, 0.95])
    assert all(group["betas"] == (0.8, 0.95) for group in adamw.param_groups)
    set_lr(adamw, 0.5)
    assert all(group["lr"] == 0.5 for group in adamw.param_groups)


def test_inserted_blocks_have_their_own_learning_rate():
    model, optimizer = optimizer_of("SOLVER.INSERTED_LR_FACTOR", 10.0)
    set_lr(optimizer, 0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(one)]: group["lr"] for group in optimizer.param_groups for one in group["params"]}
    assert rates == {name: 5.0 if "attention" in name else 0.5 for name in names.values()}
    assert set(rates.values()) == {0.5, 5.0}


def test_every_kind_of_normalisation_layer_is_one():
    kinds = [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2), nn.LayerNorm(2), nn.GroupNorm(1, 2)]
    model = nn.Sequential(nn.Linear(2, 2), *kinds, nn.Conv3d(2, 2, 1))
    norms = {name.split(".")[0] for name, _, is_norm in learning_parameters(model) if is_norm}
    assert norms == {"1", "2", "3", "4", "5"}


def test_clipping():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[3.0, -4.0]])
    clip_gradients(layer, None, None)
    assert layer.weight.grad.tolist() == [[3.0, -4.0]]
    clip_gradients(layer, 3.5, None)
    assert layer.weight.grad.tolist() == [[3.0, -3.5]]
    layer.weight.grad = torch.tensor([[3.0, -4.0]])
    clip_gradients(layer, None, 1.0)
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.6, -0.8]]), atol=1e-5, rtol=0)
    layer.weight.grad = torch.tensor([[3.0, -40.0]])
    clip_gradients(layer, 4.0, 1.0)  # elements first, then the norm of what is left
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.6, -0.8]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["adam", "adamw"])
def test_weight_decay_is_in_adams_gradient_and_beside_adamws(method):
    """Kingma & Ba, algorithm 1, with L2 in the gradient; Loshchilov & Hutter, algorithm 2, decays beside it."""
    lr, decay, (first, second) = 0.1, 0.25, (0.8, 0.95)
    model, optimizer = optimizer_of("SOLVER.OPTIMIZING_METHOD", method, "SOLVER.BETAS", [first, second])
    weight = model.head.projection.weight
    weight.data = weight.data.double()
    set_lr(optimizer, lr)
    expected, mean, square = weight.detach().clone(), 0, 0
    for step in range(1, 4):
        gradient = torch.randn_like(weight)
        weight.grad = gradient.clone()
        optimizer.step()
        if method == "adam":
            gradient = gradient + decay * expected
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        update = mean / (1 - first**step) / ((square / (1 - second**step)).sqrt() + 1e-8)
        expected = expected - lr * (update + (decay * expected if method == "adamw" else 0))
        torch.testing.assert_close(weight.detach(), expected)

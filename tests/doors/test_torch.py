"""PyTorch modules as models: the same outputs, the same gradients, the same training, for any number of samples."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as everyone calls it)

import chainrule as cr
from chainrule.verify.certificate import Certificate
from chainrule.verify.plan import every_lemma
from tests.doors.compare import arrays, differences
from tests.doors.more_nets import MORE
from tests.doors.nets import NETS
from tests.examples import few

MSE = "mean_squared_error"


def made(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """A net, the example that it is brought in with, and twice as many samples less one."""
    torch.manual_seed(0)
    module, example = {**NETS, **MORE}[name]()
    with torch.no_grad():
        for parameter in module.parameters():  # so that none is 0 or 1 everywhere
            parameter += 0.1 * torch.randn_like(parameter)
    module = module.to(dtype)
    example = tuple(x.to(dtype) if x.is_floating_point() else x for x in example)
    return module, example, tuple(torch.cat([x.roll(1, -1), x.roll(2, -1)])[:-1] for x in example)


@pytest.mark.parametrize("name", [*few(NETS, 1), *few(MORE, 6)])
def test_outputs_and_every_gradient_are_those_of_autograd(name: str) -> None:
    module, example, samples = made(name)
    model = cr.from_torch(module, example, loss=MSE)
    assert differences(model, module, samples) == []


def losses(module: nn.Module, samples: tuple[Tensor, ...], target: Tensor, steps: int) -> list[float]:
    """PyTorch's losses over steps of gradient descent."""
    module = copy.deepcopy(module).train()
    rule, found = torch.optim.SGD(module.parameters(), lr=0.05), list[float]()
    for _ in range(steps):
        rule.zero_grad()
        value = ((module(*samples) - target) ** 2).mean()
        value.backward()
        rule.step()
        found.append(value.item())
    return found


@pytest.mark.parametrize("name", few(NETS, 3))
def test_native_training_has_the_losses_of_pytorch(name: str) -> None:
    module, example, samples = made(name, torch.float32)
    model = cr.from_torch(module, example, loss=MSE)
    target = torch.randn(module(*samples).shape)
    expected = losses(module, samples, target, 3)
    history = model.fit(
        arrays(samples), target.numpy().reshape(len(target), *model.network.logits.shape[1:]), epochs=3, verbose=False,
        batch_size=len(target), optimizer=cr.SGD(0.05), executor="native",
    )
    np.testing.assert_allclose([epoch["loss"] for epoch in history.epochs], expected, rtol=1e-5)
    assert expected[0] != pytest.approx(expected[2], rel=1e-4)  # it moved


def test_a_wrong_weight_is_seen() -> None:
    module, example, samples = made("transformer layer")
    model = cr.from_torch(module, example, loss=MSE)
    with torch.no_grad():
        module.linear2.bias[0] += 1e-9
    assert differences(model, module, samples)


def test_layers_are_called_as_their_modules_and_saved_with_their_names(tmp_path: Path) -> None:
    module, example, samples = made("resnet block")
    model = cr.from_torch(module, example, loss=MSE)
    labels = [label for label, _ in model.network.layers]
    assert {"conv1", "bn1", "conv2", "bn2", "shortcut", "fc", "relu", "add"} <= {*labels}
    assert isinstance(model["conv1"], cr.Conv2d) and isinstance(model["bn1"], cr.BatchNorm)
    np.testing.assert_array_equal(model.parameters["fc.W"], module.fc.weight.detach().numpy())
    model.save(tmp_path / "m.safetensors")
    again = cr.load(tmp_path / "m.safetensors")
    assert [label for label, _ in again.network.layers] == labels
    np.testing.assert_array_equal(again.predict(arrays(samples)), model.predict(arrays(samples)))
    assert "conv1" in again.derive().to_text()


CERTIFIED = ["causal attention", "tied weights", "dilated tcn", "group norm", "attention in windows"]


def unchecked(model: cr.Model, certificate: Certificate) -> list[str]:
    """What of a derivation no exact line of its certificate is about, a line for each step of each lemma; and what is
    checked in another way than exactly."""
    derivation = model.derive()
    exact = [entry for entry in certificate.entries if entry.tier == "exact"]
    found = Counter((entry.what, entry.rule) for entry in exact)
    steps = Counter((what, step.rule) for what, lemma in every_lemma(derivation) for step in lemma.all_steps)
    missing = [f"{what}: {rule}" for what, rule in steps - found]
    if not any(entry.what.kind == "gradients" for entry in exact):
        missing.append("all gradients together")
    programs = {entry.what.y for entry in exact if entry.what.kind == "program"}
    missing += [gradient.name for gradient in derivation.gradients.values() if gradient.name not in programs]
    return missing + [str(e.what) for e in certificate.entries if e.tier not in ("exact", "loops")]


@pytest.mark.parametrize("name", few([*NETS, *MORE], CERTIFIED))
def test_what_comes_in_is_certified(name: str) -> None:
    """Every net in `pytest -m "doors and campaign" tests/doors`, some in `make doors`."""
    module, example, _ = made(name)
    model = cr.from_torch(module, example, loss=MSE)
    certificate = model.verify()
    assert unchecked(model, certificate) == []
    # The controls: a line that is missing, and one that is evidence.
    (first, *others) = certificate.entries
    assert unchecked(model, replace(certificate, entries=tuple(others))) == [f"{first.what}: {first.rule}"]
    shown = unchecked(model, replace(certificate, entries=(*certificate.entries, replace(first, tier="evidence"))))
    assert shown == [str(first.what)]


def test_a_network_of_ordinary_size_is_derived_in_seconds() -> None:
    """Its shapes are made smaller to be checked, and each read of a part of an axis lets them."""
    module = nn.TransformerEncoderLayer(256, 8, 512, batch_first=True)
    model = cr.from_torch(module, torch.randn(2, 64, 256), loss=MSE)
    assert len(model.derive().gradients) == len(model.parameters) + 1


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm, self.drop = nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=0.25), nn.Dropout(0.25)
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.drop(self.norm(self.fc(x))).unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_and_running_averages_are_those_of_training(training: bool) -> None:
    torch.manual_seed(0)
    module, x = Noisy().double().train(training), torch.randn(7, 4, dtype=torch.float64)
    modes = [part.training for part in module.modules()]
    model = cr.from_torch(module, x[:2], loss=MSE)
    assert [part.training for part in module.modules()] == modes
    assert sorted(p for p in model.network.random.values() if p) == [0.5, 0.5, 0.5, 0.5, 0.75]
    with torch.no_grad():
        np.testing.assert_allclose(model.predict(x.numpy()), module.eval()(x).numpy(), rtol=1e-12, atol=1e-12)
    model.fit(x.numpy(), np.zeros((7, 6)), epochs=1, batch_size=7, optimizer=cr.SGD(1e-9), verbose=False)
    u = module.fc(x).detach().numpy()
    np.testing.assert_allclose(model.states["norm.running_mean"], 0.25 * u.mean(0), rtol=1e-7)
    np.testing.assert_allclose(model.states["norm.running_variance"], 0.75 + 0.25 * u.var(0), rtol=1e-7)


class Sequence(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, 0) * x.sum(2, keepdim=True)


def test_samples_may_stand_along_another_axis() -> None:
    module, example = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0).double(), torch.randn(5, 2, 8).double()
    model = cr.from_torch(module, example, samples=1)
    x = torch.randn(5, 4, 8).double()
    expected = module(x).transpose(0, 1).detach().numpy()
    np.testing.assert_allclose(model.predict(x.transpose(0, 1).numpy()), expected, rtol=1e-12, atol=1e-13)
    y = Sequence()(x).transpose(0, 1).numpy()
    found = cr.from_torch(Sequence(), example, samples=1).predict(x.transpose(0, 1).numpy().astype(np.float32))
    np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-6)


def test_what_is_frozen_stays_frozen() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    module[0].requires_grad_(False)
    model = cr.from_torch(module, torch.randn(2, 3), loss=MSE)
    model.fit(np.ones((4, 3)), np.ones((4, 1)), epochs=1, verbose=False)
    np.testing.assert_array_equal(model.parameters["layer_0.W"], module[0].weight.detach().numpy())
    assert not np.array_equal(model.parameters["layer_2.W"], module[2].weight.detach().numpy())


def test_what_is_frozen_within_a_layer_that_learns_stays_frozen() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 1)).double()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("bias" in name)
    x = torch.randn(5, 3, dtype=torch.float64)
    model = cr.from_torch(module, x[:2], loss=MSE)
    assert differences(model, module, (x,)) == []
    assert sorted(value.shape for value in model.parameters.values()) == [(1,), (4,), (4,)]


class Inner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x).real


class Outer(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(4, 4), inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.first(x))


class Applied(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Counting(nn.Module):
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.total += 1
        return x * self.total


class Unlearnt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.place = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            mean = self.place(x)
        y = self.fc(x)
        y[:, 0] = 0  # what is written in place is made functions first, and the mean is apart nevertheless
        return y - mean


REFUSED: dict[str, tuple[Any, list[str]]] = {
    "a part without gradients": (Unlearnt(), ["detached", "module place", "self.place(x)"]),
    "a value that is detached": (Applied(lambda x: x * x.mean(1, keepdim=True).detach()), ["detached"]),
    "as many groups as samples": (
        Applied(lambda x: F.conv1d(x[None], torch.ones(len(x), 1, 2), groups=len(x))[0]), ["groups", "test_torch.py"],
    ),
    "numbers as truth values": (Applied(lambda x: torch.logical_or(x, x > 0) * x[:, :1].logical_not()), ["truth"]),
    "ids that are computed": (Applied(lambda x: F.embedding((x > 0) + 1, torch.ones(3, 2))), ["ids are computed"]),
    "a call without a row": (Outer(Inner()), ["fft_rfft", "module inner", "test_torch.py", "torch.fft.rfft(x).real"]),
    "a softmax over the samples": (Applied(lambda x: x.softmax(0)), ["softmax over the samples"]),
    "products of samples": (Applied(lambda x: x @ x.T), ["samples with samples"]),
    "a part of the samples": (Applied(lambda x: x[1:]), ["samples"]),
    "a buffer that is changed and read": (Counting(), ["buffer total", "state"]),
    "noise": (Applied(lambda x: x + torch.randn_like(x)), ["random", "as an input"]),
    "a sum over the samples of a recurrent layer": (nn.RNN(4, 3), ["samples"]),
    "an infinity that no softmax reads": (Applied(lambda x: x.masked_fill(x > 0, float("-inf"))), ["-inf"]),
    "whole numbers of real ones": (Applied(lambda x: x.long() * x), ["rounded"]),
    "nothing computed": (Applied(lambda x: torch.ones(3)), ["samples"]),
    "a branch on values": (Applied(lambda x: x if x.sum() > 0 else -x), ["cannot export"]),
    "no module": (lambda x: x, ["torch.nn.Module"]),
    "a dropout for ever": (Applied(lambda x: F.dropout(x, 0.5)), ["dropout", "outside training", "training=self"]),
    "statistics for ever": (
        Applied(lambda x: F.batch_norm(x, torch.zeros(4), torch.ones(4), training=True)), ["batch_norm", "outside"],
    ),
    "uneven bins": (nn.AdaptiveMaxPool1d(3), ["bins"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_come_in_is_named(name: str) -> None:
    module, says = REFUSED[name]
    example = torch.randn(2, 1, 5) if "pool" in name or "bins" in name else torch.randn(2, 4)
    with pytest.raises(cr.ChainruleError) as caught:
        cr.from_torch(module, example)
    assert [part for part in says if part not in str(caught.value)] == [], str(caught.value)


FUNCTIONS: dict[str, Any] = {
    **{
        name: getattr(F, name)
        for name in (
            "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "logsigmoid", "hardtanh",
            "hardswish", "tanhshrink", "softshrink", "hardshrink", "leaky_relu",
        )
    },
    "softmax over an inner axis": lambda x: x.softmax(1),
    "softmin": lambda x: F.softmin(x, -1),
    "softplus with beta": lambda x: F.softplus(x, beta=2.0),
    "normalised": lambda x: F.normalize(x, dim=1),
    "cosine": lambda x: F.cosine_similarity(x[:, :2], x[:, 2:], dim=-1),
    "variance": lambda x: (
        x.var(1) + x.std((1, 2), keepdim=True).squeeze(1) + x.var(2, unbiased=False, keepdim=True).sum(1)
    ),
    "powers": lambda x: (x.abs() + 1) ** 1.5 + x**3 + 1 / (x.abs() + 1) + x.square().sqrt() + 2 ** x.tanh(),
    "extremes": lambda x: (
        x.amax(1) - x.amin((1,)) + x.max(1).values + torch.maximum(x[:, 0], x[:, 1]) + x.logsumexp(1)
    ),
    "where": lambda x: torch.where(x > 0.5, x, 0.1 * x) + torch.where(x.abs() <= 1, x * x, x.abs()) * (x != 0),
    "clamped": lambda x: x.clamp(-1, 0.5) + x.clamp(min=0.25) + x.clamp_max(0.75),
    "masks that choose": lambda x: x[:, torch.eye(4)[:, :3] > 0] + x[:, torch.tensor([True, False, True, True])].sum(2),
    "more functions": lambda x: (
        torch.tan(0.1 * x) + x.sinh() * x.cosh() + x.asinh() + torch.log2(x.abs() + 1) + torch.log10(x.abs() + 1)
        + x.exp2() + torch.hypot(x, x + 3) + torch.logaddexp(x, 2 * x) + torch.lerp(x, x * x, 0.3)
        + torch.addcmul(x, x, x, value=0.5) + torch.addcdiv(x, x, x.abs() + 1, value=2)
    ),
    "masked": lambda x: x.masked_fill(torch.eye(4)[:, :3] > 0, -7.0) + torch.tril(x) - x.triu(1),
    "cumulated": lambda x: x.cumsum(1) + x.flip(1).cumsum(-1),
    "rolled": lambda x: x.roll(1, 1) + torch.roll(x, (-2, 1), (1, 2)),
    "repeated": lambda x: x.repeat(1, 2, 1) + x.repeat_interleave(2, dim=1) + torch.stack([x, -x], 2).flatten(1, 2),
    "reshaped": lambda x: (
        (x.reshape(-1, 3, 4) * torch.arange(12.0).view(3, 4)).transpose(1, 2)
        + x.unflatten(1, (2, 2)).flatten(1, 2)
    ),
    "padded": lambda x: F.pad(x, (1, 2, -1, 1)) - F.pad(x[:, :, :1], (2, 3, 0, 0), value=0.5),
    "padded twice": lambda x: F.pad(F.pad(x, (1, 0)), (0, 1))[:, :, ::2] + F.pad(x[:, :, 1:2], (1, 1)),
    "products": lambda x: (
        torch.einsum("nij,njk->nik", x, x.mT) @ x + (x.mT @ x).sum(-1)[:, None] + torch.bmm(x, x.mT) @ x
    ),
    "outer": lambda x: x.flatten(1)[:, :, None] * x.flatten(1)[:, None],
    "steps": lambda x: x[:, ::2].index_select(2, torch.tensor([2, 0, 2])),
    "places": lambda x: (
        x[:, torch.tensor([[0, 3], [1, -1]])].sum(2) + x[:, [2, 0], [1, 1]][:, :, None]
    ),
    "movedim": lambda x: x.movedim(1, 2).swapaxes(1, 2).permute(0, -1, 1).squeeze().unsqueeze(-2).squeeze(-2),
    "trigonometry": lambda x: torch.sin(x) * torch.cos(x) + torch.expm1(x) + torch.log1p(x.abs()) + torch.erf(x),
    "split": lambda x: torch.cat(
        [*x.split([1, 3], 1), *x.chunk(2, 1), *x.unbind(1)[0].unsqueeze(1).tensor_split(1, 1)], 1
    ),
    "rms": lambda x: F.rms_norm(x, (4, 3), eps=1e-6) + F.layer_norm(x, (3,)) + F.layer_norm(x, (4, 3), eps=1e-3),
    "in place": lambda x: (x * 2).add_(1).mul_(3).sigmoid_(),
    "mask of attention": lambda x: F.scaled_dot_product_attention(
        x, x, 2 * x, attn_mask=torch.ones(4, 4).tril().bool(), scale=0.3
    ),
    "causal mask that is added": lambda x: (x @ x.mT + torch.full((4, 4), float("-inf")).triu(1)).softmax(-1) @ x,
    "without a row, made of what has one": lambda x: (
        torch.hstack([x, x]).diff(dim=1)[:, :4] + F.huber_loss(x, 2 * x, reduction="none") + torch.max(x, x**2)
        + torch.logit(torch.sigmoid(x)) + x.clip(-1, 1).moveaxis(1, 2).moveaxis((2, 0), (1, 0))
    ),
    "moments": lambda x: torch.cat([*torch.var_mean(x, 1), *torch.var_mean(x, dim=1, unbiased=False)], 1),
    "truth values": lambda x: (
        x * ((x > 0) | (x < -1)) + (~((x > 0) & (x < 1))) * x**2 + torch.logical_xor(x > 0, x < 1)
    ),
    "three factors": lambda x: torch.einsum("nij,nik,nij->njk", x, x, x),
    "most of several": lambda x: x.flatten(1).unflatten(1, (6, 2)).max(-1)[0],
    "in a part without gradients": lambda x: torch.no_grad()(lambda: torch.arange(3.0).cos())() * x,
    "fixed weights": lambda x: F.linear(
        F.layer_norm(x, (3,), torch.arange(1.0, 4).to(x), torch.ones(3).to(x)), torch.arange(6.0).view(2, 3).to(x)
    ),
    "one-hot": lambda x: F.one_hot(torch.arange(4) % 3, 3).to(x.dtype) * x,
}
IMAGES: dict[str, Any] = {
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear with corners": lambda x: F.interpolate(x, size=(10, 12), mode="bilinear", align_corners=True),
    "nearest": lambda x: F.interpolate(x, scale_factor=(1, 3)),
    "max pool, ceil": lambda x: F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True),
    "max pool, dilated": lambda x: F.max_pool2d(x, (2, 3), (1, 2), padding=(1, 0), dilation=(3, 2), ceil_mode=True),
    "mean pool, ceil": lambda x: F.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True),
    "mean pool, ceil, inside": lambda x: F.avg_pool2d(x, (2, 3), 2, ceil_mode=True, count_include_pad=False),
    "bins": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "even bins": lambda x: F.adaptive_avg_pool2d(x, (5, 2)) + F.adaptive_max_pool2d(x, (1, 1)),
    "transposed, groups, dilation": nn.ConvTranspose2d(2, 4, (3, 2), 2, 1, 1, groups=2, dilation=2),
    "same, dilated": nn.Conv2d(2, 3, (3, 4), padding="same", dilation=2),
    "reflected": nn.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"),
    "circular": nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
    "replicated": nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="replicate"),
    "unfolded": lambda x: x.unfold(2, 3, 2).unfold(3, 2, 1).amax((4, 5)),
    "instance norm": nn.InstanceNorm2d(2),
    "fixed kernel": lambda x: F.conv2d(x, torch.arange(1.0, 10).view(1, 1, 3, 3).repeat(2, 1, 1, 1).to(x), groups=2),
    "fixed gains": lambda x: F.prelu(F.group_norm(x, 1, torch.tensor([2.0, 3]).to(x)), torch.full((1,), 0.3).to(x)),
    "group norm": lambda x: F.group_norm(x, 1),
    "batch norm without scale": nn.BatchNorm2d(2, affine=False),
    "prelu": nn.PReLU(),
    "flat batch norm": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(60), nn.Unflatten(1, (2, 30))),
    "merged": lambda x: (x.flatten(0, 1).softmax(-1) * 2).view(-1, 2, 5, 6).mean(1),
    "unfolded windows": lambda x: (
        x.unflatten(3, (2, 3)).permute(0, 3, 1, 2, 4).flatten(0, 1).tanh().unflatten(0, (-1, 2)).sum(1)
    ),
}


@pytest.mark.parametrize("name", [*FUNCTIONS, *IMAGES])
def test_functions_are_those_of_pytorch(name: str) -> None:
    torch.manual_seed(0)
    function = {**FUNCTIONS, **IMAGES}[name]
    module = (function if isinstance(function, nn.Module) else Applied(function)).double()
    x = torch.randn(3, *((4, 3) if name in FUNCTIONS else (2, 5, 6)), dtype=torch.float64)
    model = cr.from_torch(module, x[:2], loss=MSE)
    assert differences(model, module, (x,)) == []

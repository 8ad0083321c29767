"""More nets, which are compared and not trained as well."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as everyone calls it)
from torch.nn.utils.parametrizations import weight_norm

from tests.doors.nets import Make, Windows, rand


class ConvNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(2, 2, 3, padding=1, groups=2), nn.LayerNorm(2)
        self.wide, self.narrow, self.gamma = nn.Linear(2, 8), nn.Linear(8, 2), nn.Parameter(rand(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.narrow(F.gelu(self.wide(y)))).permute(0, 3, 1, 2)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]).to(x.dtype)
        return self.layer(x, memory, tgt_mask=mask)


class GroupedQueries(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.pair = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q = self.query(x).view(B, T, 4, 2).transpose(1, 2)
        k, v = self.pair(x).view(B, T, 2, 2, 2).unbind(2)
        k = k.transpose(1, 2)[:, :, None].expand(B, 2, 2, T, 2).reshape(B, 4, T, 2)
        v = v.transpose(1, 2).repeat_interleave(2, dim=1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, C)


class Modulated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.film = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False), nn.Linear(4, 6)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        gain, shift = self.film(z)[:, :, None, None].chunk(2, 1)
        return torch.relu(self.norm(self.conv(x)) * (1 + gain) + shift)


class Frames(nn.Module):
    """A convolution of each frame of a film: the samples' axis is merged with that of time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        B, T = x.shape[:2]
        y = F.max_pool2d(self.conv(x.flatten(0, 1)), 2).mean((2, 3))
        return self.fc(y.view(B, T, -1)).mean(1)


class Unrolled(nn.Module):
    """A gated recurrent unit, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.given, self.kept = nn.Linear(3, 12), nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 4)
        for t in range(x.shape[1]):
            (r, z, n), (s, u, m) = self.given(x[:, t]).chunk(3, 1), self.kept(h).chunk(3, 1)
            z = torch.sigmoid(z + u)
            h = (1 - z) * torch.tanh(n + torch.sigmoid(r + s) * m) + z * h
        return h


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(6, 3), nn.ModuleList(nn.Linear(6, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.stack([expert(x) for expert in self.experts], 1) * self.gate(x).softmax(-1)[..., None]).sum(1)


class Factors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.users, self.items, self.bias = nn.Embedding(7, 4), nn.Embedding(9, 4), nn.Embedding(7, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return (self.users(user) * self.items(item)).sum(1, keepdim=True) + self.bias(user)


class Relative(nn.Module):
    """Attention with a bias for each distance, as in Swin and T5."""

    distance: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.bias = nn.Linear(8, 24), nn.Parameter(rand(9, 2))
        places = torch.arange(5)
        self.register_buffer("distance", places[:, None] - places + 4)

    def forward(self, x: Tensor) -> Tensor:
        N, T, C = x.shape
        q, k, v = self.qkv(x).reshape(N, T, 3, 2, C // 2).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.bias[self.distance.view(-1)].view(T, T, -1).permute(2, 0, 1).contiguous()
        scores = (q * (C // 2) ** -0.5) @ k.transpose(-2, -1) + bias.unsqueeze(0)
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(N, T, C)


class Perceiver(nn.Module):
    """Queries that are learnt look at the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.latents, self.norm = nn.Parameter(rand(3, 8)), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, kdim=5, vdim=5)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        q = self.latents.unsqueeze(0).expand(x.size(0), -1, -1)
        return self.head((q + self.attention(self.norm(q), x, x)[0]).flatten(1))


class WaveNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(1, 4, 1), nn.Conv1d(5, 2, 1)
        self.gates = nn.ModuleList(nn.Conv1d(4, 8, 2, dilation=2**k) for k in range(3))
        self.rest = nn.ModuleList(nn.Conv1d(4, 4, 1) for _ in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(4, 5, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        total: Any = 0
        for k, (gate, rest, skip) in enumerate(zip(self.gates, self.rest, self.skips, strict=True)):
            a, b = gate(F.pad(x, (2**k, 0))).chunk(2, 1)
            z = torch.tanh(a) * torch.sigmoid(b)
            total, x = total + skip(z), x + rest(z)
        return self.last(F.relu(total))


class Hyper(nn.Module):
    """The weights of one layer are what another gives, for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.weights, self.shift = nn.Linear(3, 12), nn.Linear(3, 4)
        self.code, self.shared = nn.Parameter(rand(2, 3)), nn.Linear(3, 8)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        y = torch.bmm(self.weights(c).view(-1, 4, 3), x.unsqueeze(-1)).squeeze(-1) + self.shift(c)
        return F.linear(torch.tanh(y), self.shared(self.code).view(4, 4).t())


class Capsules(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W, self.conv = nn.Parameter(0.3 * rand(4, 3, 2, 5)), nn.Conv2d(1, 8, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        u = self.conv(x).flatten(1)[:, :20].view(-1, 4, 5)
        square = (u**2).sum(-1, keepdim=True)
        h = torch.einsum("ijdk,nik->nijd", self.W, square / (1 + square) * u / torch.sqrt(square + 1e-8))
        b, v = h.new_zeros(h.size(0), 4, 3), h
        for _ in range(2):
            v = (b.softmax(2).unsqueeze(-1) * h).sum(1)
            b = b + (h * v.unsqueeze(1)).sum(-1)
        return v.norm(dim=-1)


class RungeKutta(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(3, 6), nn.Softplus(), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            a = self.f(x)
            b = self.f(x + 0.05 * a)
            c = self.f(x + 0.05 * b)
            x = x + 0.1 * (a + 2 * b + 2 * c + self.f(x + 0.1 * c)) / 6
        return x


class InvertedBottleneck(nn.Module):
    """EfficientNet's block."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(2, 6, 1, bias=False), nn.BatchNorm2d(6), nn.SiLU(inplace=True))
        self.depthwise = nn.Sequential(
            nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), nn.BatchNorm2d(6), nn.SiLU(inplace=True),
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 2, 1), nn.SiLU(inplace=True), nn.Conv2d(2, 6, 1), nn.Sigmoid(),
        )
        self.project = nn.Sequential(nn.Conv2d(6, 2, 1, bias=False), nn.BatchNorm2d(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        return x + self.project(y * self.squeeze(y))


class LlamaAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.query = nn.RMSNorm(8, eps=1e-6), nn.Linear(8, 8, bias=False)
        self.key, self.value = nn.Linear(8, 4, bias=False), nn.Linear(8, 4, bias=False)
        self.out = nn.Linear(8, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        z = self.norm(x)
        q, k, v = (f(z).view(B, T, -1, 2).transpose(1, 2) for f in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return x + self.out(y.transpose(1, 2).reshape(B, T, C))


class ShiftedWindows(Windows):
    """Swin's, shifted, with a mask for each window."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.where(rand(4, 1, 4, 4) > 0, 0.0, -100.0))

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        x = torch.roll(x, shifts=(-1, -1), dims=(1, 2))
        w = x.view(B, H // 2, 2, W // 2, 2, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, C)
        q, k, v = self.qkv(w).reshape(-1, 4, 3, 2, C // 2).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1)).view(B, 4, 2, 4, 4) + self.mask.unsqueeze(0)
        a = scores.view(-1, 2, 4, 4).softmax(-1) @ v
        y = self.out(a.transpose(1, 2).reshape(-1, 4, C)).view(B, H // 2, W // 2, 2, 2, C)
        return torch.roll(y.permute(0, 1, 3, 2, 4, 5).reshape(B, H, W, C), (1, 1), (1, 2))


class Bert(nn.Module):
    """Words, positions and types; a mask out of the ids; the first word's output."""

    def __init__(self, boolean: bool) -> None:
        super().__init__()
        self.words, self.types = nn.Embedding(9, 8, padding_idx=0), nn.Embedding(2, 8)
        self.positions, self.norm = nn.Embedding(5, 8), nn.LayerNorm(8, eps=1e-12)
        self.qkv, self.pooler, self.boolean = nn.Linear(8, 24), nn.Linear(8, 8), boolean

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.positions(torch.arange(ids.shape[1])) + self.types(torch.zeros_like(ids))
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        mask = (ids != 0)[:, None, :]
        if not self.boolean:
            mask = (1.0 - mask.to(x.dtype)) * -10000.0
        x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return torch.tanh(self.pooler(x[:, 0]))


class Recurrent(nn.Module):
    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][:, -1])


class FromLastState(nn.Module):
    """Samples along the second axis, and the states that are left."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.start, self.head = nn.LSTM(3, 4, bias=False), nn.Linear(3, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        h = torch.tanh(self.start(x[0]))[None]
        _, (h, c) = self.body(x, (h, torch.zeros_like(h)))
        return self.head(torch.cat([h[0], c[0]], 1))


class TextCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(6, 2)
        self.convolutions = nn.ModuleList(nn.Conv1d(4, 3, size) for size in (2, 3))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).transpose(1, 2)
        return self.head(torch.cat([F.relu(c(x)).max(dim=2)[0] for c in self.convolutions], 1))


class Splines(nn.Module):
    """A function of each input for each output, as a sum of hats: Kolmogorov and Arnold's."""

    def __init__(self) -> None:
        super().__init__()
        self.heights, self.base = nn.Parameter(rand(2, 3, 5)), nn.Linear(3, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hats = F.relu(1 - 2 * (x[..., None] - torch.linspace(-1, 1, 5, dtype=x.dtype)).abs())
        return torch.einsum("nib,oib->no", hats, self.heights) + self.base(F.silu(x))


class Coupling(nn.Module):
    """RealNVP's."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 6), nn.CELU(), nn.Linear(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        shift, scale = self.net(a).chunk(2, 1)
        return torch.cat([a, b * torch.exp(torch.tanh(scale)) + shift], 1)


class Coordinates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        down = torch.linspace(-1, 1, h, dtype=x.dtype).view(1, 1, h, 1).expand(n, 1, h, w)
        right = torch.linspace(-1, 1, w, dtype=x.dtype).expand(n, 1, h, w)
        return self.conv(torch.cat([x, down, right], 1))


class Involution(nn.Module):
    """A kernel for each place, of the place, and patches put together again."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.mix = nn.Conv2d(2, 9, 1), nn.Conv1d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        patches = F.unfold(x, 3, padding=1).view(n, c, 9, h, w)
        y = (self.kernel(x).view(n, 1, 9, h, w) * patches).sum(2)
        return F.fold(self.mix(F.unfold(y, 2, stride=1)), (h, w), 2)


class Bags(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(9, 4, mode=mode), nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.bag(ids))


class Volumes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv3d(1, 2, 2), nn.Conv3d(2, 4, (1, 2, 1), padding=(1, 0, 0), groups=2, bias=False)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(F.relu(self.conv1(x)), 2, 1, padding=1)
        return self.head(F.avg_pool3d(self.conv2(x), (2, 1, 2)).mean((2, 3, 4)))


class Resized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(self.conv(x), scale_factor=1.5, mode="bilinear") + F.interpolate(x, size=(6, 6))
        y = F.interpolate(x, size=(5, 4), mode="bilinear", align_corners=True)
        return F.interpolate(x, size=(5, 4), mode="bicubic") + y * y


class InPlace(nn.Module):
    """Parts of a tensor are overwritten, and read through another view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.fc(x)).clone()
        pairs = y.view(-1, 3, 2)
        y[:, 0] = x[:, 1]
        y[:, 1:3] *= x[:, :2]
        y[:, ::2] += 1
        y[:, torch.tensor([5, 3])] = torch.sigmoid(x[:, :2])
        pairs[:, 2, 0].zero_()
        return y + F.relu_(pairs * 2).flatten(1)


class NormTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.norm, self.fc2 = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 5)

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return self.norm(self.fc2(F.elu(self.norm(self.fc1(x)))))


class Distances(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.centres, self.fc = nn.Parameter(rand(4, 3)), nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        near = self.fc(torch.exp(-(torch.cdist(x, self.centres) ** 2)))
        return near * F.pairwise_distance(x, y, keepdim=True)


class Products(nn.Module):
    kept: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(rand(4, 2, 3)), nn.Linear(3, 3)
        self.register_buffer("kept", torch.tensor([True, False, True]))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tensordot(x, self.first, dims=([2], [0])).flatten(1, 2)
        y = torch.baddbmm(y.mT @ y, self.second(y).mT, y)
        return torch.diagonal(y, 1, 1, 2).prod(1, keepdim=True) + y[:, self.kept][:, :, self.kept].flatten(1)


class Masked(nn.Module):
    """Weights with zeros that stay, as an autoregressive autoencoder has them."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(4, 6), nn.Linear(6, 4)
        self.register_buffer("mask", (rand(6, 4) > 0).float())

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.linear(x, self.fc.weight * self.mask, self.fc.bias))
        return F.linear(y, self.head.weight * self.mask.t(), self.head.bias)


class Merging(nn.Module):
    """Four neighbours as one, and channels and cells exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 4, bias=False)
        self.shuffle = nn.Sequential(nn.PixelUnshuffle(2), nn.ChannelShuffle(4), nn.Conv2d(16, 2, 1, groups=2))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.shuffle(self.fc(self.norm(x)).permute(0, 3, 1, 2))


class NonLocal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(2, 6, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.conv(x).flatten(2).chunk(3, 1)
        y = c @ torch.softmax(a.transpose(1, 2) @ b, -1).transpose(1, 2)
        return x + self.out(y.view(x.shape[0], 2, *x.shape[2:]))


class Attended(nn.Module):
    """Channels and then places are weighed by their means and maxima, as CBAM has it."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(4, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 4, 1, bias=False))
        self.mean, self.max = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.places = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.sigmoid(self.mlp(self.mean(x)) + self.mlp(self.max(x)))
        mean, (most, _) = x.mean(1, keepdim=True), x.max(1, keepdim=True)
        return x * torch.sigmoid(self.places(torch.cat([mean, most], 1)))


class Pyramid(nn.Module):
    """Maps of several sizes, each added to the next larger: a feature pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(2, 3, 3, 1, 1), nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 5, 3, 2, 1)])
        self.across, self.head = nn.ModuleList(nn.Conv2d(c, 3, 1) for c in (3, 4, 5)), nn.Linear(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = list[Tensor]()
        for conv in self.down:
            x = F.relu(conv(x))
            maps.append(x)
        maps = [conv(each) for conv, each in zip(self.across, maps, strict=True)]
        for k in (1, 0):
            maps[k] = maps[k] + F.interpolate(maps[k + 1], size=maps[k].shape[-2:], mode="nearest")
        return self.head(torch.cat([F.adaptive_avg_pool2d(each, 1).flatten(1) for each in maps], 1))


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.mean, self.log = nn.Linear(5, 6), nn.Linear(6, 2), nn.Linear(6, 2)
        self.decode = nn.Sequential(nn.Linear(2, 6), nn.LeakyReLU(0.2), nn.Linear(6, 5))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        h = torch.tanh(self.encode(x))
        mean, log = self.mean(h), self.log(h)
        divergence = -0.5 * (1 + log - mean.pow(2) - log.exp()).sum(1, keepdim=True)
        return torch.cat([self.decode(mean + noise * torch.exp(0.5 * log)), divergence], 1)


class Cells(nn.Module):
    """Cells called step by step, the first state left out."""

    def __init__(self) -> None:
        super().__init__()
        self.long, self.gated, self.elman = nn.LSTMCell(3, 4), nn.GRUCell(4, 3), nn.RNNCell(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        state, h, g = None, None, x.new_zeros(x.size(0), 2)
        for each in x.unbind(1):
            state = self.long(each, state)
            h = self.gated(state[0], h)
            g = self.elman(h, g)
        return g


class SelectiveScan(nn.Module):
    """A state space whose step, input and output are functions of the input, as Mamba has it."""

    def __init__(self) -> None:
        super().__init__()
        self.A, self.D = nn.Parameter(torch.arange(1.0, 3).log().repeat(6, 1)), nn.Parameter(torch.ones(6))
        self.into, self.out = nn.Linear(3, 12, bias=False), nn.Linear(6, 3, bias=False)
        self.conv, self.select, self.rate = nn.Conv1d(6, 6, 2, 1, 1, groups=6), nn.Linear(6, 5), nn.Linear(1, 6)

    def forward(self, x: Tensor) -> Tensor:
        b, length, _ = x.shape
        u, gate = self.into(x).chunk(2, -1)
        u = F.silu(self.conv(u.transpose(1, 2))[..., :length].transpose(1, 2))
        step, B, C = self.select(u).split([1, 2, 2], -1)
        step = F.softplus(self.rate(step))
        kept = torch.exp(torch.einsum("bld,dn->bldn", step, -torch.exp(self.A)))
        given, h, y = torch.einsum("bld,bln,bld->bldn", step, B, u), x.new_zeros(b, 6, 2), list[Tensor]()
        for t in range(length):
            h = kept[:, t] * h + given[:, t]
            y.append(torch.einsum("bdn,bn->bd", h, C[:, t]))
        return self.out((torch.stack(y, 1) + u * self.D) * F.silu(gate))


class PointNet(nn.Module):
    """A map of the points that the points choose."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.map = nn.Conv1d(3, 4, 1, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 9)
        self.last = nn.Conv1d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        most = torch.max(F.relu(self.norm(self.conv(x.transpose(2, 1)))), 2, keepdim=True)[0].view(-1, 4)
        turn = self.map(most) + torch.eye(3, dtype=x.dtype).flatten().view(1, 9).repeat(x.size(0), 1)
        return torch.max(self.last(torch.bmm(x, turn.view(-1, 3, 3)).transpose(2, 1)), 2)[0]


class Patches(nn.Module):
    """Windows of each of several series as the words of a transformer, without the series' means and scales."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places, self.head = nn.Linear(4, 8), nn.Parameter(0.1 * rand(5, 8)), nn.Linear(40, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        n, _, series = x.shape
        mean, scale = x.mean(1, keepdim=True), torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)
        z = self.embed(((x - mean) / scale).permute(0, 2, 1).unfold(-1, 4, 2)) + self.places
        z = self.layer(z.reshape(n * series, 5, 8)).reshape(n, series, -1)
        return self.head(z).permute(0, 2, 1) * scale + mean


class GraphAttention(nn.Module):
    edges: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.map, self.pair = nn.Linear(3, 4, bias=False), nn.Parameter(rand(8, 1))
        self.register_buffer("edges", torch.eye(4) + (torch.rand(4, 4) > 0.5))

    def forward(self, x: Tensor) -> Tensor:
        h = self.map(x)
        scores = F.leaky_relu(h @ self.pair[:4] + (h @ self.pair[4:]).transpose(1, 2), 0.2)
        scores = torch.where(self.edges > 0, scores, torch.full_like(scores, -9e15))
        return F.elu(torch.softmax(scores, dim=-1) @ h)


class Denoising(nn.Module):
    """A block of a diffusion model: what moment it is scales and shifts the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.conv1, self.moment = nn.GroupNorm(2, 4), nn.Conv2d(4, 6, 3, padding=1), nn.Linear(6, 12)
        self.norm2, self.conv2, self.skip = nn.GroupNorm(3, 6), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.qkv = nn.Conv2d(6, 18, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        gain, shift = self.moment(F.silu(t))[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + gain) + shift
        h = self.conv2(F.silu(h)) + self.skip(x)
        n, c, height, width = h.shape
        q, k, v = self.qkv(h).reshape(n, 3, 1, c, height * width).unbind(1)
        weights = torch.einsum("bhcn,bhcm->bhnm", q * c**-0.5, k).softmax(-1)
        return h + torch.einsum("bhnm,bhcm->bhcn", weights, v).reshape(n, c, height, width)


class Blurred(nn.Module):
    """Means with weights that nothing trains, around each place."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("kernel", (row[:, None] * row / 16)[None, None].repeat(2, 1, 1, 1))
        self.conv = nn.Conv2d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.kernel, groups=x.shape[1]))


class BSplines(nn.Module):
    """Kolmogorov and Arnold's with splines of de Boor's recursion."""

    grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(rand(3, 2, 5))
        self.register_buffer("grid", (torch.arange(-2, 6) * 0.5 - 1).expand(2, -1).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        x, g = x.unsqueeze(-1), self.grid
        b = ((x >= g[:, :-1]) & (x < g[:, 1:])).to(x.dtype)
        for k in (1, 2):
            left = (x - g[:, : -(k + 1)]) / (g[:, k:-1] - g[:, : -(k + 1)]) * b[:, :, :-1]
            b = left + (g[:, k + 1 :] - x) / (g[:, k + 1 :] - g[:, 1:-k]) * b[:, :, 1:]
        return F.linear(b.view(x.size(0), -1), self.weight.view(3, -1))


MORE: dict[str, Make] = {
    "relative positions": lambda: (Relative(), (rand(3, 5, 8),)),
    "perceiver": lambda: (Perceiver(), (rand(3, 6, 5),)),
    "wavenet": lambda: (WaveNet(), (rand(3, 1, 10),)),
    "hypernetwork": lambda: (Hyper(), (rand(3, 3), rand(3, 3))),
    "capsules": lambda: (Capsules(), (rand(3, 1, 6, 6),)),
    "runge-kutta": lambda: (RungeKutta(), (rand(3, 3),)),
    "convnext": lambda: (ConvNeXt(), (rand(3, 2, 6, 6),)),
    "transformer decoder": lambda: (Decoder(), (rand(3, 4, 8), rand(3, 5, 8))),
    "grouped queries": lambda: (GroupedQueries(), (rand(3, 5, 8),)),
    "film": lambda: (Modulated(), (rand(3, 2, 5, 5), rand(3, 4))),
    "frames": lambda: (Frames(), (rand(3, 4, 1, 6, 6),)),
    "unrolled": lambda: (Unrolled(), (rand(3, 3, 3),)),
    "experts": lambda: (Experts(), (rand(3, 6),)),
    "factors": lambda: (Factors(), (torch.randint(0, 7, (3,)), torch.randint(0, 9, (3,)))),
    "normalised weights": lambda: (
        nn.Sequential(weight_norm(nn.Conv1d(2, 3, 3)), nn.Flatten(), weight_norm(nn.Linear(18, 2))), (rand(3, 2, 8),),
    ),
    "bilinear": lambda: (nn.Bilinear(4, 5, 3), (rand(3, 4), rand(3, 5))),
    "efficientnet block": lambda: (InvertedBottleneck(), (rand(3, 2, 5, 5),)),
    "llama attention": lambda: (LlamaAttention(), (rand(3, 5, 8),)),
    "shifted windows": lambda: (ShiftedWindows(), (rand(3, 4, 4, 4),)),
    "bert": lambda: (Bert(False), (torch.randint(0, 9, (3, 5)),)),
    "bert, boolean mask": lambda: (Bert(True), (torch.randint(0, 9, (3, 5)),)),
    "elman": lambda: (Recurrent(nn.RNN(3, 4, batch_first=True), 4), (rand(3, 5, 3),)),
    "gru": lambda: (Recurrent(nn.GRU(3, 4, batch_first=True), 4), (rand(3, 5, 3),)),
    "lstm, two layers, both directions": lambda: (
        Recurrent(nn.LSTM(3, 2, 2, batch_first=True, bidirectional=True), 4), (rand(3, 4, 3),),
    ),
    "lstm from a state": lambda: (FromLastState(), (rand(3, 4, 3),)),
    "text cnn": lambda: (TextCNN(), (torch.randint(0, 9, (3, 6)),)),
    "splines": lambda: (Splines(), (rand(3, 3),)),
    "real nvp": lambda: (Coupling(), (rand(3, 4),)),
    "coordinates": lambda: (Coordinates(), (rand(3, 1, 4, 5),)),
    "involution": lambda: (Involution(), (rand(3, 2, 4, 4),)),
    **{f"bags, {mode}": lambda mode=mode: (Bags(mode), (torch.randint(0, 9, (3, 5)),)) for mode in ("mean", "max")},
    "local response": lambda: (nn.Sequential(nn.Conv2d(2, 6, 3), nn.LocalResponseNorm(3)), (rand(3, 2, 5, 5),)),
    "volumes": lambda: (Volumes(), (rand(3, 1, 4, 4, 4),)),
    "resized": lambda: (Resized(), (rand(3, 1, 4, 4),)),
    "in place": lambda: (InPlace(), (rand(3, 6),)),
    "norm used twice": lambda: (NormTwice(), (rand(3, 4),)),
    "distances": lambda: (Distances(), (rand(3, 3), rand(3, 3))),
    "products": lambda: (Products(), (rand(3, 5, 4),)),
    "masked weights": lambda: (Masked(), (rand(3, 4),)),
    "patch merging": lambda: (Merging(), (rand(3, 4, 4, 2),)),
    "non-local": lambda: (NonLocal(), (rand(3, 2, 3, 4),)),
    "attended channels and places": lambda: (Attended(), (rand(3, 4, 5, 5),)),
    "feature pyramid": lambda: (Pyramid(), (rand(3, 2, 8, 8),)),
    "variational autoencoder": lambda: (Variational(), (rand(3, 5), rand(3, 2))),
    "cells": lambda: (Cells(), (rand(3, 3, 3),)),
    "selective scan": lambda: (SelectiveScan(), (rand(3, 4, 3),)),
    "pointnet": lambda: (PointNet(), (rand(3, 6, 3),)),
    "patches of series": lambda: (Patches(), (rand(3, 12, 2),)),
    "graph attention": lambda: (GraphAttention(), (rand(3, 4, 3),)),
    "diffusion block": lambda: (Denoising(), (rand(3, 4, 4, 4), rand(3, 6))),
    "blurred": lambda: (Blurred(), (rand(3, 2, 6, 6),)),
    "b-splines": lambda: (BSplines(), (rand(3, 2),)),
}
"""Nets that are compared and not trained as well."""

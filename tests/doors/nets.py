"""PyTorch nets of the kinds that people have, each with an example: what `from_torch` must bring in."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as everyone calls it)

rand = torch.randn


class ResNetBlock(nn.Module):
    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Conv2d(3, channels, 1, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return self.fc(torch.flatten(self.pool(self.relu(out)), 1))


class HardSigmoid(nn.Module):
    """As torchvision had it: PyTorch's own works with 1/6 in float32, in float64 too."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 12, 1), HardSigmoid(),
        )
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, 3, 1)
        self.three = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 3, padding=1))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(2, 2, 1))
        self.fc = nn.Linear(9 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.cat([self.one(x), self.three(x), self.pooled(x)], 1).flatten(1))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.middle = nn.Conv2d(6, 6, 3, padding=1)
        self.up2, self.up1 = nn.ConvTranspose2d(6, 4, 2, stride=2), nn.Upsample(scale_factor=2)
        self.out2, self.out1 = nn.Conv2d(10, 4, 3, padding=1), nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.down1(x))
        b = F.relu(self.down2(F.max_pool2d(a, 2)))
        c = F.relu(self.middle(F.max_pool2d(b, 2)))
        b = F.relu(self.out2(torch.cat([self.up2(c), b], dim=1)))
        return self.out1(torch.cat((self.up1(b), a), dim=1))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 6, 4, stride=4)
        self.norm1, self.norm2 = nn.LayerNorm(6), nn.LayerNorm(6)
        self.tokens = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
        self.channels = nn.Sequential(nn.Linear(6, 10), nn.GELU(approximate="tanh"), nn.Linear(10, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm2(x))
        return self.head(x.mean(dim=1))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.reduce, self.expand = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        s = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.expand(F.relu(self.reduce(s))))


class LlamaFeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(6) + 0.5)
        self.gate, self.up = nn.Linear(6, 8, bias=False), nn.Linear(6, 8, bias=False)
        self.down = nn.Linear(8, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale
        return x + self.down(F.silu(self.gate(z)) * self.up(z))


class Rotary(nn.Module):
    cos: Tensor
    sin: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(5.0)[:, None] * 10000 ** (-torch.arange(0, 8, 2) / 8)
        angles = torch.cat([angles, angles], -1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.query = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.query(x)
        half = torch.cat([-x[..., 4:], x[..., :4]], -1)
        return x * self.cos + half * self.sin


class CausalAttention(nn.Module):
    """As nanoGPT writes it."""

    bias: Tensor

    def __init__(self, width: int = 8, heads: int = 2, length: int = 5) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.width = heads, width
        self.register_buffer("bias", torch.tril(torch.ones(length, length)).view(1, 1, length, length))

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.width, dim=2)
        k = k.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        q = q.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        v = v.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / k.size(-1) ** 0.5)
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        att = F.softmax(att, dim=-1)
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.c_proj(y)


class FlashAttention(CausalAttention):
    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = (
            z.view(B, T, self.heads, C // self.heads).transpose(1, 2) for z in self.c_attn(x).chunk(3, dim=-1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class SelfAttention(nn.Module):
    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(8, 2, batch_first=True), weights

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x, x, x, need_weights=self.weights)[0]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(11, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.mix(self.embed(ids))))


class GroupNormNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.GroupNorm(3, 6)
        self.inner, self.head = nn.InstanceNorm2d(6, affine=True), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.silu(self.inner(F.elu(self.norm(self.conv(x))))))


class BagOfWords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.fc = nn.Embedding(13, 6), nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc(self.norm(self.embed(ids).mean(1)))


class Chomp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :-4].contiguous()


class TCN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv1d(2, 4, 3, padding=4, dilation=2), Chomp(), nn.ReLU())
        self.conv2 = nn.Conv1d(4, 4, 3, dilation=2)
        self.down, self.head = nn.Conv1d(2, 4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.pad(self.conv1(x), (4, 0)))
        return self.head(F.relu(out + self.down(x))[:, :, -1])


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4))
        self.head = nn.Linear(4, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(torch.abs(self.body(a) - self.body(b)))


class Highway(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.change = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        t = torch.sigmoid(self.gate(x))
        return t * F.relu(self.change(x)) + (1 - t) * x


class DenseBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2 + 3 * k, 3, 3, padding=1) for k in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(2 + 3 * k) for k in range(3))
        self.pool, self.fc = nn.AvgPool2d(2), nn.Linear(11 * 9, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            features.append(layer(F.relu(norm(torch.cat(features, 1)))))
        return self.fc(self.pool(torch.cat(features, 1)).view(x.shape[0], -1))


class GatedConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv1d(3, 8, 3, padding=1), nn.Linear(4 * 10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.glu(self.conv(x), dim=1).reshape(len(x), -1))


class GPT(nn.Module):
    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(11, 8), nn.Embedding(5, 8)
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(8), CausalAttention(), nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.lm_head = nn.Linear(8, 11, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        x = x + self.attn(self.ln_1(x))
        x = x + self.mlp(self.ln_2(x))
        return self.lm_head(x)


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        self.token, self.position = nn.Parameter(rand(1, 1, 8)), nn.Parameter(rand(1, 5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True, dropout=0.0)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        return self.head(self.block(x)[:, 0])


class Shuffle(nn.Module):
    """ShuffleNet's unit: channels of grouped convolutions change places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(6, 6, 1, groups=3), nn.Conv2d(6, 6, 3, padding=1, groups=6)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = self.first(x).view(b, 3, c // 3, h, w).transpose(1, 2).reshape(b, -1, h, w)
        return self.second(F.leaky_relu(x, 0.1))


class Windows(nn.Module):
    """Attention within windows, as Swin has it: the samples' axis is merged with that of the windows."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        w = x.view(B, H // 2, 2, W // 2, 2, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, C)
        q, k, v = self.qkv(w).reshape(-1, 4, 3, 2, C // 2).permute(2, 0, 3, 1, 4).unbind(0)
        a = torch.softmax(q @ k.transpose(-2, -1) / 2**0.5, -1) @ v
        y = self.out(a.transpose(1, 2).reshape(-1, 4, C)).view(B, H // 2, W // 2, 2, 2, C)
        return y.permute(0, 1, 3, 2, 4, 5).reshape(B, H, W, C)


class PixelShuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.shuffle = nn.Conv2d(1, 8, 3, padding=1), nn.PReLU(8), nn.PixelShuffle(2)
        self.last = nn.Conv2d(2, 1, 3, padding="same", padding_mode="zeros")

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.shuffle(self.act(self.conv(x))))


Make = Callable[[], tuple[nn.Module, tuple[Any, ...]]]


def encoder_layer(**options: Any) -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, **options)


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
        nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1, output_padding=1), nn.Sigmoid(),
    )


NETS: dict[str, Make] = {
    "mlp": lambda: (nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), (rand(3, 4),)),
    "cnn": lambda: (
        nn.Sequential(
            nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 5), nn.ReLU(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 10),
        ),
        (rand(3, 1, 16, 16),),
    ),
    "resnet block": lambda: (ResNetBlock(), (rand(3, 3, 8, 8),)),
    "mobilenet": lambda: (MobileNet(), (rand(3, 3, 8, 8),)),
    "inception": lambda: (Inception(), (rand(3, 2, 6, 6),)),
    "u-net": lambda: (UNet(), (rand(3, 1, 8, 8),)),
    "mlp-mixer": lambda: (Mixer(), (rand(3, 1, 8, 8),)),
    "squeeze-excite": lambda: (SqueezeExcite(), (rand(3, 2, 6, 6),)),
    "llama feed-forward": lambda: (LlamaFeedForward(), (rand(3, 5, 6),)),
    "rotary": lambda: (Rotary(), (rand(3, 5, 8),)),
    "causal attention": lambda: (CausalAttention(), (rand(3, 5, 8),)),
    "flash attention": lambda: (FlashAttention(), (rand(3, 5, 8),)),
    "multi-head attention": lambda: (SelfAttention(False), (rand(3, 5, 8),)),
    "multi-head attention with weights": lambda: (SelfAttention(True), (rand(3, 5, 8),)),
    "transformer layer": lambda: (encoder_layer(batch_first=True), (rand(3, 5, 8),)),
    "transformer layer, gelu, norm first": lambda: (
        encoder_layer(batch_first=True, activation="gelu", norm_first=True), (rand(3, 5, 8),),
    ),
    "tied weights": lambda: (Tied(), (torch.randint(0, 11, (3, 5)),)),
    "group norm": lambda: (GroupNormNet(), (rand(3, 2, 5, 5),)),
    "bag of words": lambda: (BagOfWords(), (torch.randint(0, 13, (3, 5)),)),
    "layer norm": lambda: (
        nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Softplus(), nn.Linear(6, 2)), (rand(3, 5),),
    ),
    "depthwise separable": lambda: (
        nn.Sequential(nn.Conv2d(4, 8, 3, groups=4, padding="same"), nn.Conv2d(8, 5, 1), nn.SELU()), (rand(3, 4, 6, 6),),
    ),
    "dilated tcn": lambda: (TCN(), (rand(3, 2, 9),)),
    "autoencoder": lambda: (autoencoder(), (rand(3, 1, 8, 8),)),
    "siamese": lambda: (Siamese(), (rand(3, 5), rand(3, 5))),
    "highway": lambda: (Highway(), (rand(3, 6),)),
    "densenet block": lambda: (DenseBlock(), (rand(3, 2, 6, 6),)),
    "gated convolution": lambda: (GatedConv(), (rand(3, 3, 10),)),
    "gpt": lambda: (GPT(), (torch.randint(0, 11, (3, 5)),)),
    "vision transformer": lambda: (ViT(), (rand(3, 1, 8, 8),)),
    "shuffled channels": lambda: (Shuffle(), (rand(3, 6, 4, 4),)),
    "attention in windows": lambda: (Windows(), (rand(3, 4, 4, 4),)),
    "pixel shuffle": lambda: (PixelShuffle(), (rand(3, 1, 4, 4),)),
}

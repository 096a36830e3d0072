# SPDX-License-Identifier: Apache-2.0
"""Small models in plain torch, by name and sizes: what people write themselves, beside the models of libraries.

Their times on a card are rows of section ``blocks`` (simsparse.validate.blocks), whose fields are the sizes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = 4
"""Layers of a model by default."""
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
Dims = Mapping[str, Any]


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of x (batch, heads, tokens, head_dim)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Llama(nn.Module):  # type: ignore[misc]
    """A decoder layer: fused RMS norms, grouped queries by SDPA's own flag, SwiGLU."""

    def __init__(self, d: Dims) -> None:
        super().__init__()
        self.d, width, kv = d, d["d"], d["kv"] * d["hd"]
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.q = nn.Linear(width, d["h"] * d["hd"], bias=False)
        self.k, self.v = nn.Linear(width, kv, bias=False), nn.Linear(width, kv, bias=False)
        self.o = nn.Linear(d["h"] * d["hd"], width, bias=False)
        self.gate, self.up = nn.Linear(width, d["ff"], bias=False), nn.Linear(width, d["ff"], bias=False)
        self.down = nn.Linear(d["ff"], width, bias=False)
        self.register_buffer("cos", torch.rand(d["t"], d["hd"] // 2))
        self.register_buffer("sin", torch.rand(d["t"], d["hd"] // 2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.d["h"] != self.d["kv"])

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        y = self.norm1(x)
        q = self.q(y).view(b, t, self.d["h"], self.d["hd"]).transpose(1, 2)
        k = self.k(y).view(b, t, self.d["kv"], self.d["hd"]).transpose(1, 2)
        v = self.v(y).view(b, t, self.d["kv"], self.d["hd"]).transpose(1, 2)
        q, k = rotated(q, self.cos, self.sin), rotated(k, self.cos, self.sin)
        x = x + self.o(self.attend(q, k, v).transpose(1, 2).reshape(b, t, -1))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class LlamaDecode(Llama):
    """The same for one token of each sequence, with a cache of ``l`` tokens that is written in place."""

    def __init__(self, d: Dims) -> None:
        super().__init__(d)
        shape = (d["b"], d["kv"], d["l"], d["hd"])
        self.register_buffer("keys", torch.randn(shape))
        self.register_buffer("values", torch.randn(shape))
        self.register_buffer("at", torch.tensor([d["l"] - 1]))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.keys.index_copy_(2, self.at, k)
        self.values.index_copy_(2, self.at, v)
        return F.scaled_dot_product_attention(q, self.keys, self.values, enable_gqa=self.d["h"] != self.d["kv"])


class GptLayer(nn.Module):  # type: ignore[misc]
    """A layer with layer norms, one projection of queries, keys and values, biases, GELU."""

    causal = True

    def __init__(self, d: Dims) -> None:
        super().__init__()
        self.h, w = d["h"], d["d"]
        self.norm1, self.norm2 = nn.LayerNorm(w), nn.LayerNorm(w)
        self.qkv, self.o = nn.Linear(w, 3 * w), nn.Linear(w, w)
        self.up, self.down = nn.Linear(w, d["ff"]), nn.Linear(d["ff"], w)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)

    def forward(self, x: Tensor) -> Tensor:
        b, t, w = x.shape
        q, k, v = (e.view(b, t, self.h, w // self.h).transpose(1, 2) for e in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        x = x + self.o(self.attend(q, k, v).transpose(1, 2).reshape(b, t, w))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh" if self.causal else "none"))


class Encoder(GptLayer):
    """Without a mask, as vision transformers."""

    causal = False


class ByHand(GptLayer):
    """Attention written as products, scaling, a mask and a softmax."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
        return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ v


class Experts(nn.Module):  # type: ignore[misc]
    """A mixture of experts of fixed capacity: scores, top-k, a sort of tokens, batched products, weighted sums."""

    def __init__(self, d: Dims) -> None:
        super().__init__()
        self.d = d
        self.norm, self.router = nn.RMSNorm(d["d"]), nn.Linear(d["d"], d["e"], bias=False)
        self.up = nn.Parameter(torch.randn(d["e"], d["d"], 2 * d["ff"]) / math.sqrt(d["d"]))
        self.down = nn.Parameter(torch.randn(d["e"], d["ff"], d["d"]) / math.sqrt(d["ff"]))

    def forward(self, x: Tensor) -> Tensor:
        e, k = self.d["e"], self.d["k"]
        y = self.norm(x)
        weight, chosen = self.router(y).float().softmax(dim=-1).topk(k, dim=-1)
        order = chosen.flatten().argsort()
        rows = y.index_select(0, order // k).view(e, -1, self.d["d"])
        gate, up = torch.bmm(rows, self.up).chunk(2, dim=-1)
        out = torch.bmm(F.silu(gate) * up, self.down).view(-1, self.d["d"])
        out = out * weight.flatten().index_select(0, order).to(x.dtype).unsqueeze(-1)
        return x.index_add(0, order // k, out)


class ConvNext(nn.Module):  # type: ignore[misc]
    """Depthwise 7x7, layer norm over channels, two linear layers; channels first in memory."""

    def __init__(self, d: Dims) -> None:
        super().__init__()
        c = d["c"]
        self.depthwise, self.norm = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c)
        self.up, self.down = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)


class DenoiserBlock(nn.Module):  # type: ignore[misc]
    """Group norm, SiLU, 3x3 convolution, twice, as in a denoiser's U-Net; channels last."""

    def __init__(self, d: Dims) -> None:
        super().__init__()
        c = d["c"]
        self.norm1, self.norm2 = nn.GroupNorm(32, c), nn.GroupNorm(32, c)
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y)))


class Bottleneck(nn.Module):  # type: ignore[misc]
    """1x1, 3x3, 1x1 convolutions with batch norms that are not trained; channels last."""

    def __init__(self, d: Dims) -> None:
        super().__init__()
        c, inner = d["c"], d["c"] // 4
        self.conv = nn.ModuleList([
            nn.Conv2d(c, inner, 1, bias=False), nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.Conv2d(inner, c, 1, bias=False),
        ])  # fmt: skip
        self.norm = nn.ModuleList([nn.BatchNorm2d(inner), nn.BatchNorm2d(inner), nn.BatchNorm2d(c)])

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm[0](self.conv[0](x)))
        y = F.relu(self.norm[1](self.conv[1](y)))
        return F.relu(x + self.norm[2](self.conv[2](y)))


class Mixer(nn.Module):  # type: ignore[misc]
    """MLPs over tokens, then over channels."""

    def __init__(self, d: Dims) -> None:
        super().__init__()
        w, t = d["d"], d["t"]
        self.norm1, self.norm2 = nn.LayerNorm(w), nn.LayerNorm(w)
        self.up1, self.down1 = nn.Linear(t, 4 * t), nn.Linear(4 * t, t)
        self.up2, self.down2 = nn.Linear(w, d["ff"]), nn.Linear(d["ff"], w)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.down1(F.gelu(self.up1(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        return x + self.down2(F.gelu(self.up2(self.norm2(x))))


class Interactions(nn.Module):  # type: ignore[misc]
    """A recommender: embeddings of a few tables, products of all pairs, an MLP."""

    def __init__(self, d: Dims) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(d["rows"], d["d"]) for _ in range(d["tables"]))
        self.mlp = nn.Sequential(
            nn.Linear(d["tables"] ** 2, d["ff"]), nn.ReLU(), nn.Linear(d["ff"], d["ff"]), nn.ReLU(),
            nn.Linear(d["ff"], 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, ids: Tensor) -> Tensor:
        found = torch.stack([table(ids[:, i]) for i, table in enumerate(self.tables)], dim=1)
        return self.mlp(torch.bmm(found, found.transpose(1, 2)).flatten(1))


BLOCKS: dict[str, type[nn.Module]] = {
    "llama": Llama, "llama_decode": LlamaDecode, "gpt": GptLayer, "encoder": Encoder, "by_hand": ByHand,
    "experts": Experts, "convnext": ConvNext, "residual": DenoiserBlock, "bottleneck": Bottleneck, "mixer": Mixer,
    "interactions": Interactions,
}  # fmt: skip
SIZES: Mapping[str, tuple[str, ...]] = {
    "llama": ("h", "kv", "hd", "d", "ff", "b", "t"), "llama_decode": ("h", "kv", "hd", "d", "ff", "b", "t", "l"),
    **dict.fromkeys(("gpt", "encoder", "by_hand"), ("h", "d", "ff", "b", "t")), "experts": ("e", "k", "d", "ff", "n"),
    **dict.fromkeys(("convnext", "residual", "bottleneck"), ("b", "c", "px")), "mixer": ("d", "t", "b", "ff"),
    "interactions": ("tables", "d", "rows", "ff", "n"),
}  # fmt: skip
"""Sizes of each: ``h`` heads, ``kv`` of keys, of ``hd`` elements; width ``d``, inner width ``ff``; ``b`` sequences of
``t`` tokens, or images of ``c`` channels and ``px`` rows and columns; ``l`` cached tokens; ``e`` experts, ``k`` of them
for each of ``n`` tokens; ``n`` requests of rows of ``tables`` tables of ``rows``."""
IMAGES = ("convnext", "residual", "bottleneck")


def inputs(d: Dims, device: str) -> Tensor:
    """An input of the model of ``d``."""
    dtype = DTYPES[d["dtype"]]
    if d["block"] == "interactions":
        return torch.randint(d["rows"], (d["n"], d["tables"]), device=device)
    if d["block"] == "experts":
        return torch.randn(d["n"], d["d"], dtype=dtype, device=device)
    if d["block"] in IMAGES:
        x = torch.randn(d["b"], d["c"], d["px"], d["px"], dtype=dtype, device=device)
        return x if d["block"] == "convnext" else x.contiguous(memory_format=torch.channels_last)
    return torch.randn(d["b"], d["t"], d["d"], dtype=dtype, device=device)


def model(d: Dims, device: str, layers: int = LAYERS) -> nn.Module:
    """The model of ``d``: equal layers with weights of their own, without gradients; interactions are one layer."""
    dtype = DTYPES[d["dtype"]]
    count = 1 if d["block"] == "interactions" else layers
    with torch.device(device):
        built = nn.Sequential(*(BLOCKS[d["block"]](d) for _ in range(count)))
    for buffer in built.buffers():
        if buffer.is_floating_point():
            buffer.data = buffer.data.to(dtype)
    built = built.to(dtype).eval().requires_grad_(False)
    return built.to(memory_format=torch.channels_last) if d["block"] in ("residual", "bottleneck") else built

# SPDX-License-Identifier: Apache-2.0
"""Traces of studies of small networks and of memory, written down op by op. No torch needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

from simsparse.core import Trace, TraceBuilder, ops

HALF, FULL = 2, 4
"""Bytes of a value of 16 and of 32 bits."""


def autoencoder(width: int = 784, hidden: int = 1000, batch: int = 100) -> Trace:
    """A training step of QuickSelection's autoencoder on MNIST: both layers forward, their gradients of inputs and
    weights, each a product with as many multiplications as weights and rows."""
    builder = TraceBuilder("autoencoder-train", phase="train", batch=batch, written="study_small.py")
    for layer, (n, k) in {"encoder": (hidden, width), "decoder": (width, hidden)}.items():
        builder.add(ops.linear(batch, n, k, "fp32", name=layer, module=layer, weight=layer, label="fwd"))
        builder.add(ops.elementwise(FULL * batch * n, FULL * batch * n, batch * n, "fp32", name=f"{layer}.act"))
    for layer, (n, k) in {"decoder": (width, hidden), "encoder": (hidden, width)}.items():
        builder.add(ops.linear(batch, k, n, "fp32", name=f"{layer}.bwd_input", module=layer, weight=layer))
        builder.add(ops.linear(batch, n, k, "fp32", name=f"{layer}.bwd_weight", module=layer, weight=layer))
    return builder.build()


MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and stride of each stage of MobileNet-v2, strides as for images of 32 x 32."""


def mobilenet_v2() -> Trace:
    """MobileNet-v2 on one image of CIFAR-10."""
    builder = TraceBuilder("mobilenet-v2-cifar", batch=1, written="Sandler et al., 2018, table 2")
    size, channels = 32, 32

    def conv(name: str, c_in: int, c_out: int, side: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        builder.add(ops.conv2d(1, c_in, c_out, side, side, kernel, kernel, stride=stride, padding=kernel // 2,
                               groups=groups, dtype="fp32", name=name, module=name))  # fmt: skip

    conv("stem", 3, 32, size, 3)
    for stage, (expansion, width, blocks, stride) in enumerate(MOBILENET):
        for block in range(blocks):
            at, inner, step = f"blocks.{stage}.{block}", channels * expansion, stride if block == 0 else 1
            if expansion > 1:
                conv(f"{at}.expand", channels, inner, size, 1)
            conv(f"{at}.depthwise", inner, inner, size, 3, step, inner)
            size, channels = size // step, width
            conv(f"{at}.project", inner, width, size, 1)
    conv("last", channels, 1280, size, 1)
    return builder.add(ops.linear(1, 10, 1280, "fp32", name="classifier", module="classifier")).build()


def tensor_products(kept_paths: float, kept_pairs: float, atoms: int = 20, channels: int = 128) -> Trace:
    """The tensor products of five layers on all pairs of atoms, a kernel per path of degrees up to four, of which a
    share is kept; linear layers that mix channels per degree stay."""
    name = f"tensor-products-{kept_paths:g}-{kept_pairs:g}"
    builder = TraceBuilder(name, phase="forward", batch=1, written="study_small.py")
    paths = [p for p in product(range(5), repeat=3) if abs(p[0] - p[1]) <= p[2] <= p[0] + p[1]]
    pairs = round(atoms * atoms * kept_pairs)
    for layer in range(5):
        for l1, l2, l3 in paths[: round(len(paths) * kept_paths)]:
            a, b, c = (2 * degree + 1 for degree in (l1, l2, l3))
            values = pairs * channels
            builder.add(ops.elementwise(FULL * values * (a + b), FULL * values * c, 2 * values * a * b * c, "fp32",
                                        label="mul", name=f"layers.{layer}.path_{l1}{l2}{l3}"))  # fmt: skip
        for degree in range(5):
            builder.add(ops.linear(pairs * (2 * degree + 1), channels, channels, "fp32",
                                   name=f"layers.{layer}.mix_{degree}", module=f"layers.{layer}.mix"))  # fmt: skip
    return builder.build()


def tuned(models: int, tokens: int = 1024, layers: int = 32) -> Trace:
    """Forward and backward pass of ``models`` of Llama-2-7B that are tuned at once and share their frozen weights."""
    shapes = {"q": (4096, 4096), "k": (4096, 4096), "v": (4096, 4096), "o": (4096, 4096), "gate": (11008, 4096),
              "up": (11008, 4096), "down": (4096, 11008)}  # fmt: skip
    builder = TraceBuilder(f"llama2-7b-tuned-{models}", phase="train", batch=2, written="study_small.py")
    order = [(f"layers.{i}.{part}", *shape) for i in range(layers) for part, shape in shapes.items()]
    for model in range(models):
        for weight, n, k in order:
            builder.add(ops.linear(tokens, n, k, name=f"{weight}.{model}", module=weight, weight=f"{weight}.weight",
                                   label="fwd"))  # fmt: skip
    for model in range(models):
        for weight, n, k in reversed(order):
            builder.add(ops.linear(tokens, k, n, name=f"{weight}.{model}.bwd", module=weight, label="bwd_input",
                                   weight=f"{weight}.weight"), [str(builder.last), f"{weight}.{model}"])  # fmt: skip
    return builder.build()


def codebook_experts() -> Trace:
    """The experts of switch-c-2048: 30 layers of 2,048 experts of 2,080 to 6,144 and back."""
    builder = TraceBuilder("switch-c-2048-experts", written="arXiv:2310.16795: sizes of its largest matrices")
    for layer in range(30):
        for part, n, k in (("up", 6144, 2080), ("down", 2080, 6144)):
            builder.add(ops.linear(1, n, k, held=2048, name=f"layers.{layer}.{part}", module=f"layers.{layer}.{part}"))
    return builder.build()


SMALL: Mapping[str, Callable[[], Trace]] = {
    "autoencoder-train": autoencoder,
    "mobilenet-v2-cifar": mobilenet_v2,
    "tensor-products-all": lambda: tensor_products(1.0, 1.0),
    "tensor-products-kept": lambda: tensor_products(0.3, 0.3),
    "tensor-products-paths": lambda: tensor_products(0.3, 1.0),
    "llama2-7b-tuned-1": lambda: tuned(1),
    "llama2-7b-tuned-2": lambda: tuned(2),
    "switch-c-2048-experts": codebook_experts,
}

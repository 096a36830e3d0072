# SPDX-License-Identifier: Apache-2.0
"""Text beside markers that covers neither markers nor other text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from simsparse.report.style import INK, MUTED, SMALL_PT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
_DISTANCES_PT = (7, 18, 32, 48, 66)
_DIRECTIONS = ((1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1))
CHARACTER_PT, LINE_PT = 5.2, 10.5


def place_labels(
    ax: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str], obstacles: Sequence[tuple[float, float]]
) -> int:
    """Write ``texts`` beside ``points`` (data coordinates); returns how many found room.

    Greedy: every text takes the nearest free place that covers no obstacle, no earlier text and no
    edge of the axes, with a thin line to its point when it stands off that crosses no text. Call it after the axes'
    limits and size are final.
    """
    from matplotlib.transforms import Affine2D

    to_points = ax.transData + Affine2D().scale(72 / ax.figure.dpi)
    frame = ax.get_window_extent().transformed(Affine2D().scale(72 / ax.figure.dpi))
    written: list[Box] = []
    taken: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in to_points.transform(list(obstacles) or [(0, 0)])]
    for point, text in zip(points, texts, strict=True):
        x, y = to_points.transform(point)
        for offset, align, box in _spots(x, y, text, (frame.x0, frame.y0, frame.x1, frame.y1)):
            line = _line(x, y, offset)
            if any(_overlap(box, other) for other in taken) or any(_overlap(a, b) for a in line for b in written):
                continue
            taken += [box, *line]
            written.append(box)
            _write(ax, point, text, offset, align)
            break
    return len(written)


def _spots(x: float, y: float, text: str, frame: Box) -> Iterator[tuple[tuple[float, float], str, Box]]:
    """Offset, alignment and box of every place of ``text`` round (x, y) inside ``frame``, nearest first."""
    width, height = CHARACTER_PT * len(text), LINE_PT
    for distance, (dx, dy) in itertools.product(_DISTANCES_PT, _DIRECTIONS):
        centre_x, centre_y = x + dx * distance, y + dy * distance
        left = centre_x - {1: 0.0, 0: width / 2, -1: width}[dx]
        box = (left, centre_y - height / 2, left + width, centre_y + height / 2)
        if box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]:
            yield (dx * distance, dy * distance), {1: "left", 0: "center", -1: "right"}[dx], box


def _line(x: float, y: float, offset: tuple[float, float]) -> list[Box]:
    """Small boxes along the line from a point to its text, none when the text stands next to it."""
    if max(map(abs, offset)) <= _DISTANCES_PT[0]:
        return []
    steps = [(x + offset[0] * i / 12, y + offset[1] * i / 12) for i in range(2, 11)]
    return [(a - 0.5, b - 0.5, a + 0.5, b + 0.5) for a, b in steps]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _write(ax: Axes, point: tuple[float, float], text: str, offset: tuple[float, float], align: str) -> None:
    far = max(map(abs, offset)) > _DISTANCES_PT[0]
    line: dict[str, Any] = {"arrowprops": {"arrowstyle": "-", "color": MUTED, "linewidth": 0.5}} if far else {}
    ax.annotate(
        text, point, xytext=offset, textcoords="offset points", ha=align, va="center", fontsize=SMALL_PT, color=INK,
        annotation_clip=False, **line,
    ).set_in_layout(False)  # fmt: skip

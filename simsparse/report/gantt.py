# SPDX-License-Identifier: Apache-2.0
"""Timelines: what ran on which lane and when, the whole run and one window of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simsparse.core import Span, Timeline
from simsparse.report.plot import Plot, finish, panels
from simsparse.report.results import Results, StoredPoint, unique
from simsparse.report.si import Scale, scale_for
from simsparse.report.style import kind_colours, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LANE_IN = 0.26
MAX_ROWS = 4
WINDOW_SPANS = 36
MERGE_GAP = 1 / 1500
"""Spans of one kind closer than this share of the panel are drawn as one."""

MIN_WIDTH = 1 / 300
"""Spans are drawn at least this share of the panel wide, so that short ones can be seen."""

DeviceLane = tuple[str, str]
Stretch = tuple[int, int]
Bars = dict[tuple[str, str, str], list[Stretch]]
"""Stretches of work in femtoseconds by device, lane and kind, in order."""


@dataclass(frozen=True)
class GanttLane:
    """One point's timeline as it is drawn: whole on the left, a window on the right.

    ``busy`` is the share of the run in which each lane works.
    """

    point: StoredPoint
    end_fs: int
    window: Stretch
    bars: Bars
    window_bars: Bars
    busy: Mapping[DeviceLane, float]

    @property
    def lanes(self) -> tuple[DeviceLane, ...]:
        return tuple(sorted(self.busy))

    @property
    def kinds(self) -> list[str]:
        return unique(kind for _, _, kind in self.bars)


def gantt(results: Results) -> Plot | None:
    """Timelines of up to ``MAX_ROWS`` points, those with most lanes at work; None when none was kept."""
    rows = _rows(results)
    if not rows:
        return None
    lanes = max(len(row.lanes) for row in rows)
    figure, axes = panels(2 * len(rows), 0.85 + LANE_IN * max(lanes, 2))
    kinds = unique(kind for row in rows for kind in row.kinds)
    for i, row in enumerate(rows):
        _draw(axes[2 * i], row, (0, row.end_fs), row.bars, kinds, labelled=True)
        _draw(axes[2 * i + 1], row, row.window, row.window_bars, kinds, labelled=False)
        name = f"{wrapped(f'{row.point.workload}, {row.point.sparsity}', 46)}\n{wrapped(row.point.configuration, 46)}"
        axes[2 * i].set_title(name, fontsize=8.5)
        axes[2 * i + 1].set_title("a window of the same run", fontsize=8.5, fontweight="normal")
    title = _title(rows)
    finish(figure, title, _legend(kinds))
    return Plot("timeline", "Timeline", title, _caption(results, rows), figure)


def _rows(results: Results) -> list[GanttLane]:
    """Rows of the points in which most kinds of work meet on most lanes, each different timeline once."""
    rows: dict[tuple[str, bytes], GanttLane] = {}
    for workload in results.workloads:
        for configuration in results.configurations:
            points = (p for s in results.sparsities if (p := results.point_of(workload, configuration, s)))
            point = next((point for point in points if point.key in results.timelines), None)
            if point and (timeline := results.timelines[point.key]).spans:
                rows.setdefault((workload, _digest(timeline)), _lane(point, timeline))
    ranked = sorted(rows.values(), key=lambda row: (-len(row.lanes), -len(row.kinds)))
    return ranked[:MAX_ROWS]


def _digest(timeline: Timeline) -> bytes:
    total = hashlib.sha256()
    for span in timeline.spans:
        total.update(repr(tuple(span)).encode())
    return total.digest()


def _lane(point: StoredPoint, timeline: Timeline) -> GanttLane:
    """What is drawn of a timeline, whose spans are gone through and not kept."""
    end, window = timeline.end_fs, _window(timeline)
    bars, window_bars = Bars(), Bars()
    busy, last = dict[DeviceLane, int](), dict[DeviceLane, int]()
    for span in timeline.spans:
        lane = span.device, span.lane
        busy[lane] = busy.get(lane, 0) + max(0, span.end_fs - max(last.get(lane, 0), span.start_fs))
        last[lane] = max(last.get(lane, 0), span.end_fs)
        for own, (first, final) in ((bars, (0, end)), (window_bars, window)):
            _merge(own.setdefault((*lane, span.kind), []), span, first, final)
    shares = {lane: fs / max(end, 1) for lane, fs in busy.items()}
    return GanttLane(point, end, window, bars, window_bars, shares)


def _window(timeline: Timeline) -> Stretch:
    """A stretch from the middle of the run that holds about ``WINDOW_SPANS`` spans."""
    first = max(0, len(timeline.spans) // 2 - WINDOW_SPANS // 2)
    chosen = timeline.spans[first : first + WINDOW_SPANS]
    return min(s.start_fs for s in chosen), max(s.end_fs for s in chosen)


def _draw(ax: Axes, row: GanttLane, shown: Stretch, bars: Bars, kinds: Sequence[str], labelled: bool) -> None:
    (start, end), colours = shown, kind_colours(kinds)
    scale = _scale(start, end)
    for y, lane in enumerate(row.lanes):
        for kind in kinds:
            if wide := _widened(bars.get((*lane, kind), []), start, end):
                widths = [((a - start) / 1e15 / scale.factor, (b - a) / 1e15 / scale.factor) for a, b in wide]
                ax.broken_barh(widths, (y - 0.38, 0.76), facecolor=colours[kind], edgecolor="none")
    ax.set_xlim(0, max(end - start, 1) / 1e15 / scale.factor)
    ax.set_ylim(len(row.lanes) - 0.5, -0.5)
    names = [f"{device} {lane}" for device, lane in row.lanes] if labelled else []
    ax.set_yticks(range(len(row.lanes)), names or [""] * len(row.lanes))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    origin = "Time" if start == 0 else "Time since the window's start"
    ax.set_xlabel(f"{origin} ({scale.unit})")


def _scale(start: int, end: int) -> Scale:
    return scale_for([max(end - start, 1) / 1e15], "s")


def _merge(bars: list[Stretch], span: Span, start: int, end: int) -> None:
    """Add what ``span`` covers inside ``start``..``end`` to ``bars``, closing a small gap to the last of them."""
    a, b = max(span.start_fs, start), min(span.end_fs, end)
    if b <= a:
        return
    if bars and a - bars[-1][1] <= (end - start) * MERGE_GAP:
        bars[-1] = bars[-1][0], max(b, bars[-1][1])
    else:
        bars.append((a, b))


def _widened(bars: Sequence[Stretch], start: int, end: int) -> list[Stretch]:
    """``bars``, tiny ones as wide as ``MIN_WIDTH``."""
    least = int((end - start) * MIN_WIDTH)
    return [(min(a, end - least), max(b, min(a, end - least) + least)) for a, b in bars]


def _legend(kinds: Sequence[str]) -> list[object]:
    from matplotlib.patches import Patch

    colours = kind_colours(kinds)
    return [Patch(color=colours[kind], label=kind) for kind in kinds]


def _title(rows: Sequence[GanttLane]) -> str:
    """The busiest lane of the first row, and how busy it is."""
    row = rows[0]
    busy = row.busy
    ranked = sorted(busy, key=lambda lane: -busy[lane])[:2]
    said = ", ".join(f"{device} {lane} {100 * busy[device, lane]:.0f} %" for device, lane in ranked)
    return f"Lanes at work over the run of {row.point.workload} on {row.point.configuration}: {said}"


def _caption(results: Results, rows: Sequence[GanttLane]) -> str:
    text = "What each lane does over the whole run (left) and in a window of it (right); colours are kinds of work."
    kept = len(results.timelines)
    if kept > len(rows):
        text += f" {len(rows)} of {kept} timelines are shown: of each configuration the densest, most lanes first."
    return text

"""Plots of agreement as SVG, without style attributes or scripts: colours come from the page's sheet by class."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from workflows.steps.agreement_report import per_cent
from workflows.steps.agreement_statistics import Proportion, Week

__all__ = ["interval_plot", "trend_plot"]

_LEFT, _RIGHT, _WIDTH, _ROW = 230, 30, 760, 30
_TREND_HEIGHT = 190
_NAME = 34


def interval_plot(rows: Sequence[tuple[str, Proportion]]) -> Markup:
    """A line for each name: its proportion as a dot, its 95 % interval as a bar, from 0 to 100 %."""
    height = _ROW * len(rows) + 34
    parts = [_axis(height)]
    for number, (name, part) in enumerate(rows):
        if part.value is None or part.low is None or part.high is None:
            continue
        y = _ROW * number + _ROW // 2 + 4
        short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
        parts.append(
            Markup(
                '<g class="row"><title>{name}: {told}</title>'
                '<text class="name" x="{right}" y="{y4}" text-anchor="end">{short}</text>'
                '<line class="interval" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y}"/>'
                '<circle class="value" cx="{x:.1f}" cy="{y}" r="5"/></g>'
            ).format(
                name=name,
                told=per_cent(part),
                short=short,
                right=_LEFT - 12,
                y=y,
                y4=y + 4,
                x1=_x(part.low),
                x2=_x(part.high),
                x=_x(part.value),
            )
        )
    return _svg(height, "Part of the findings that was accepted, with 95 % intervals", parts) if rows else Markup("")


def trend_plot(weeks: Sequence[Week]) -> Markup:
    """The part that was accepted by week, with its interval; a week without findings leaves a gap."""
    known = [(number, week) for number, week in enumerate(weeks) if week.accepted.value is not None]
    if len(known) < 2:
        return Markup("")
    step = (_WIDTH - 60 - _RIGHT) / max(1, len(weeks) - 1)
    parts = [_scale()]
    line: list[str] = []
    last = -2
    for number, week in known:
        part = week.accepted
        assert part.value is not None and part.low is not None and part.high is not None
        x = 60 + step * number
        line.append(f"{'L' if number == last + 1 else 'M'}{x:.1f} {_y(part.value):.1f}")
        last = number
        parts.append(
            Markup(
                '<g class="row"><title>week of {week}: {told} of {of}</title>'
                '<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
                '<circle class="value" cx="{x:.1f}" cy="{y:.1f}" r="4"/></g>'
            ).format(
                week=week.monday.isoformat(),
                told=per_cent(part),
                of=part.of,
                x=x,
                low=_y(part.low),
                high=_y(part.high),
                y=_y(part.value),
            )
        )
    parts.insert(1, Markup('<path class="trend" d="{}"/>').format(" ".join(line)))
    for number in dict.fromkeys((known[0][0], known[-1][0])):
        parts.append(
            Markup('<text class="axis" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{week}</text>').format(
                anchor="end" if number == len(weeks) - 1 > 0 else "middle",
                x=60 + step * number,
                y=_TREND_HEIGHT - 6,
                week=weeks[number].monday.isoformat(),
            )
        )
    return _svg(_TREND_HEIGHT, "Part of the findings that was accepted, by week", parts)


def _x(part: float) -> float:
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _y(part: float) -> float:
    return 12 + (1 - part) * (_TREND_HEIGHT - 46)


def _axis(height: int) -> Markup:
    lines = [
        Markup(
            '<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{end}"/>'
            '<text class="axis" x="{x:.1f}" y="{y}" text-anchor="middle">{told} %</text>'
        ).format(x=_x(part / 100), end=height - 26, y=height - 8, told=part)
        for part in (0, 25, 50, 75, 100)
    ]
    return Markup("").join(lines)


def _scale() -> Markup:
    lines = [
        Markup(
            '<line class="grid" x1="60" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text class="axis" x="50" y="{y4:.1f}" text-anchor="end">{told} %</text>'
        ).format(end=_WIDTH - _RIGHT, y=_y(part / 100), y4=_y(part / 100) + 4, told=part)
        for part in (0, 50, 100)
    ]
    return Markup("").join(lines)


def _svg(height: int, title: str, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">').format(
        width=_WIDTH, height=height, title=escape(title)
    )
    return head + Markup("").join(parts) + Markup("</svg>")

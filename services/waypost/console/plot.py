"""Computes the plot of messages per hour. The template draws the plot as SVG."""

import math
from dataclasses import dataclass
from datetime import timedelta

from waypost.analytics.hourly import Hour

LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 26.0, 44.0
"""Margins in SVG units, for the axes and their labels."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of the plot. `title` is its tooltip."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled position on an axis."""

    at: float
    label: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """All data that the template needs to draw the plot. Lengths are in units of the SVG's `viewBox`."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    bars: tuple[Bar, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    incoming: int
    outgoing: int
    hours: int

    @property
    def is_empty(self) -> bool:
        """Returns whether there was no message in any of the hours.

        If so, the template writes into the plot that there was none.
        """
        return self.incoming + self.outgoing == 0


def steps(highest: int, wanted: int = 4) -> list[int]:
    """Returns the values for an axis, from 0 to `highest` or just above.

    There are about `wanted` steps. A step is 1, 2 or 5 times a power of 10.
    """
    highest = max(1, highest)
    rough = max(1.0, highest / wanted)
    power = 10 ** math.floor(math.log10(rough))
    step = int(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough))
    return list(range(0, highest + step, step)) if highest % step else list(range(0, highest + 1, step))


def short(value: int) -> str:
    """Returns a count in the short form of an axis label, such as 950, 1.2k or 3M."""
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + letter
    return str(value)


def draw(hours: tuple[Hour, ...], *, width: float, height: float) -> Plot:
    """Draws two bars per hour, one for incoming and one for outgoing messages. They share a scale that starts at 0."""
    right, bottom = width - RIGHT, height - BOTTOM
    scale = steps(max((max(hour.incoming, hour.outgoing) for hour in hours), default=0))
    slot = (right - LEFT) / max(1, len(hours))
    unit = (bottom - TOP) / scale[-1]
    bar = slot * 0.38
    bars: list[Bar] = []
    x_ticks: list[Tick] = []
    for index, hour in enumerate(hours):
        x = LEFT + index * slot
        title = f"{hour.start:%d %b %H:%M}–{hour.start + timedelta(hours=1):%H:%M} UTC"
        for kind, count, shift in (("in", hour.incoming, 0.11), ("out", hour.outgoing, 0.51)):
            if count:
                # A single message among thousands must still be visible.
                tall = round(max(1.5, count * unit), 2)
                bars.append(
                    Bar(round(x + slot * shift, 2), round(bottom - tall, 2), round(bar, 2), tall, kind,
                        f"{title}: {count} {kind}")
                )  # fmt: skip
        if hour.start.hour % 6 == 0:
            midnight = hour.start.hour == 0
            x_ticks.append(Tick(round(x, 2), f"{hour.start:%d %b}" if midnight else f"{hour.start:%H:%M}", midnight))
    return Plot(
        width=width,
        height=height,
        left=LEFT,
        right=right,
        top=TOP,
        bottom=bottom,
        bars=tuple(bars),
        y_ticks=tuple(Tick(round(bottom - value * unit, 2), short(value)) for value in scale),
        x_ticks=tuple(x_ticks),
        incoming=sum(hour.incoming for hour in hours),
        outgoing=sum(hour.outgoing for hour in hours),
        hours=len(hours),
    )

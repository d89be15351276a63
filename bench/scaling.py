"""Time and peak memory of every stage of both recipes over recordings of 1, 3, 10 and 60 minutes.

``python -m bench.scaling [--short]`` (without the 60 minutes) prints a table and writes
docs/scaling.md and docs/scaling.svg. The growth exponent is the slope of the straight line
through the logarithms: 1 is proportional to the length, 0 is independent of it.
"""

import argparse
import math
import sys
from pathlib import Path

from bench import memory
from bench.measure import Outcome

SHORT_MINUTES = (1, 3, 10)
MINUTES = (*SHORT_MINUTES, 60)
_DOCS = Path(__file__).parents[1] / "docs"
# Time grows with the length and no faster; the rest is start-up, which lowers the slope.
_GOAL_EXPONENT = 1.1
_GOAL_MB = 1500.0
_COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#7b2d8b", "#b8860b", "#2a9d8f", "#6c757d")
# The legend's columns.
_COLUMNS = 4


def measure(*, minutes: tuple[int, ...] = MINUTES) -> list[Outcome]:
    """Every stage at every length: time grows at most in proportion, memory stays small."""
    series: Series = {}
    for number, length in enumerate(minutes, 1):
        for stage, done in memory.stages(minutes=length).items():
            seconds, megabytes = series.setdefault(stage, ([], []))
            seconds.append(done.wall_s)
            megabytes.append(done.peak_rss_mb)
        # An exponent needs two lengths; the longest takes longer than all others together.
        if number > 1:
            _write_down(series, minutes[:number])
    outcomes = []
    for stage, (seconds, megabytes) in series.items():
        slope, peak = exponent(minutes, seconds), max(megabytes)
        outcomes += [
            Outcome(f"scaling:{stage}", slope, None, None, _GOAL_EXPONENT, peak, unit="exponent"),
            Outcome(
                f"scaling:{stage}, {minutes[-1]} min",
                seconds[-1],
                None,
                None,
                _GOAL_MB,
                peak,
                unit="MB",
            ),
        ]
    return outcomes


def _write_down(series: "Series", minutes: tuple[int, ...]) -> None:
    text = _table(series, minutes)
    print(text, file=sys.stderr)
    (_DOCS / "scaling.md").write_text(_HEAD + text)
    (_DOCS / "scaling.svg").write_text(_plot(series, minutes))


_HEAD = """# How time and memory grow

Written by `python -m bench.scaling`: the stages of both recipes, each a process of its own, in
stereo at 44.1 kHz, with the engines that need no weights, into FLAC. `separate` works on our own
song, `denoise` on tones with pauses in hiss, repeated to each length. Seconds, and the largest
resident set in MB, start-up included. The exponent is the slope in the log-log plot.

![time and memory over length](scaling.svg)

"""

Series = dict[str, tuple[list[float], list[float]]]


def exponent(lengths: tuple[int, ...], values: list[float]) -> float:
    """Slope of the least-squares line through the logarithms."""
    x = [math.log(length) for length in lengths]
    y = [math.log(value) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread


def _table(series: Series, minutes: tuple[int, ...]) -> str:
    heads = [f"{length} min" for length in minutes]
    lines = [
        f"| stage | {' | '.join(heads)} | exponent of time | exponent of memory |",
        "|---" * (len(minutes) + 3) + "|",
    ]
    for stage, (seconds, megabytes) in series.items():
        cells = [f"{s:.1f} s, {m:.0f} MB" for s, m in zip(seconds, megabytes, strict=True)]
        slopes = [f"{exponent(minutes, values):.2f}" for values in (seconds, megabytes)]
        lines.append(f"| {' | '.join([stage, *cells, *slopes])} |")
    return "\n".join(lines) + "\n"


def _plot(series: Series, minutes: tuple[int, ...]) -> str:
    """Two log-log panels side by side."""
    panels = [
        _panel(series, minutes, which=which, left=60 + 380 * which, title=title)
        for which, title in enumerate(("seconds", "peak MB"))
    ]
    legend = [
        f'<text x="{60 + 190 * (n % _COLUMNS)}" y="{330 + 16 * (n // _COLUMNS)}" '
        f'fill="{colour}">{stage}</text>'
        for n, (stage, colour) in enumerate(zip(series, _COLOURS, strict=False))
    ]
    body = "\n".join([*panels, *legend])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="840" height="361" '
        'font-family="sans-serif" font-size="11">\n'
        f'<rect width="840" height="361" fill="white"/>\n{body}\n</svg>\n'
    )


def _panel(series: Series, minutes: tuple[int, ...], *, which: int, left: int, title: str) -> str:
    values = [value for pair in series.values() for value in pair[which]]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def x(length: float) -> float:
        return left + 300 * math.log(length / minutes[0]) / math.log(minutes[-1] / minutes[0])

    def y(value: float) -> float:
        return 290 - 250 * (math.log10(value) - low) / max(high - low, 1)

    parts = [f'<text x="{left}" y="25">{title} over minutes</text>']
    for decade in range(low, high + 1):
        at = y(10.0**decade)
        parts.append(f'<path d="M{left} {at:.1f}h300" stroke="#ddd"/>')
        parts.append(
            f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>'
        )
    parts += [
        f'<text x="{x(length):.1f}" y="306" text-anchor="middle">{length}</text>'
        for length in minutes
    ]
    for pair, colour in zip(series.values(), _COLOURS, strict=False):
        points = [(x(n), y(value)) for n, value in zip(minutes, pair[which], strict=True)]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
    return "\n".join(parts)


def main() -> None:
    """Print the table and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="without the 60 minutes")
    measure(minutes=SHORT_MINUTES if parser.parse_args().short else MINUTES)


if __name__ == "__main__":
    main()

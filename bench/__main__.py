"""Run one benchmark and print its figures, or all and write docs/benchmarks.md."""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Outcome, note, summary

NAMES = (
    "loudness",
    "truepeak",
    "decode",
    "encode",
    "scaling",
    "separate",
    "hpss",
    "job",
    "api",
    "overhead",
    "start",
    "stage_start",
    "memory",
    "denoise",
    "denoise_quality",
    "watchers",
)
REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

Written by `python -m bench all` on {date}, on {machine}. Each row is `python -m bench NAME`
of its first word: ours and the peer in turns on the same machine, medians of seconds. Other
work on the machine makes the seconds longer; the ratios are what counts.

| name | ours | peer | ratio | goal | peak memory | reached |
|---|---|---|---|---|---|---|
"""


def main() -> int:
    """Parse the command line and print what was measured."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("name", choices=(*NAMES, "all"))
    parser.add_argument("--json", action="store_true", help="end with one object on one line")
    given = parser.parse_args()
    if given.name == "all":
        return _write_report()
    outcomes: list[Outcome] = importlib.import_module(f"bench.{given.name}").measure()
    for outcome in outcomes:
        print(outcome.to_json() if given.json else _line(outcome))
    if given.json and [outcome.name for outcome in outcomes] != [given.name]:
        print(summary(given.name, outcomes).to_json())
    return 0


def _write_report() -> int:
    """Run each benchmark in a process of its own; a failed one is told and does not end it."""
    rows, failed = [], []
    for name in NAMES:
        note(f"# {name}")
        command = [sys.executable, "-m", "bench", name, "--json"]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed.append(name)
            continue
        found = [Outcome(**json.loads(line)) for line in done.stdout.splitlines() if line]
        rows += [_row(outcome) for outcome in found if outcome.name != name or len(found) == 1]
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    machine = f"{os.cpu_count()} processors ({platform.machine()}), Python {sys.version.split()[0]}"
    text = _HEAD.format(date=date, machine=machine) + "\n".join(rows) + "\n"
    if failed:
        text += f"\nNot measured, because they failed: {', '.join(failed)}.\n"
    REPORT.write_text(text)
    return 1 if failed else 0


def _row(outcome: Outcome) -> str:
    cells = (
        outcome.name,
        _ours(outcome),
        f"{outcome.peer:.3f} s" if outcome.peer is not None else "",
        f"{outcome.ratio:.2f}" if outcome.ratio is not None else "",
        _goal(outcome),
        f"{outcome.peak_rss_mb:.0f} MB" if outcome.peak_rss_mb else "",
        "yes" if outcome.share >= 1 else "**no**",
    )
    return f"| {' | '.join(cells)} |"


def _goal(outcome: Outcome) -> str:
    if outcome.ratio is not None:
        return f">= {outcome.goal:g} times"
    return f"<= {outcome.goal:g} {outcome.unit}"


def _ours(outcome: Outcome) -> str:
    if outcome.ours is None:
        return "-"
    return f"{outcome.ours:.2f}" if outcome.unit == "exponent" else f"{outcome.ours:.3f} s"


def _line(outcome: Outcome) -> str:
    figure = _ours(outcome)
    if outcome.ratio is not None:
        figure += f", {outcome.ratio:.1f} times the peer's speed ({outcome.peer:.3f} s)"
    memory = f", peak {outcome.peak_rss_mb:.0f} MB" if outcome.peak_rss_mb else ""
    return f"{outcome.name}: {figure}{memory} (goal {_goal(outcome)})"


if __name__ == "__main__":
    sys.exit(main())

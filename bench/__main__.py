"""Run one benchmark and print its figures, or all that docs/benchmarks.md tells and write it."""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Outcome, note, summary

NAMES = (
    "loudness",
    "truepeak",
    "decode",
    "encode",
    "separate",
    "hpss",
    "api",
    "overhead",
    "start",
    "cold_start",
    "stage_start",
    "memory",
    "denoise",
    "denoise_quality",
    "watchers",
    "job",
    "scaling",
)
# `scaling` has a document of its own, which it writes, and measures what `memory` does, over an
# hour; `denoise_quality` measures no seconds.
_APART = frozenset({"memory", "scaling", "denoise_quality"})
_REPORTED = tuple(name for name in NAMES if name not in _APART)
_REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_LIMIT_S = 900.0
_KEYS = ("name", "peer", "ours", "ratio", "goal", "peak_rss_mb")
_HEAD = """# Benchmarks

Written by `python -m bench all` on {date}, on {machine}. Each row is `python -m bench NAME`
of its first word: ours and the peer in turns on the same machine, medians of seconds. Other
work on the machine makes the seconds longer; the ratios are what counts.

| name | ours | peer | ratio | goal | peak memory | reached |
|---|---|---|---|---|---|---|
"""
_NOTES = """
## What is compared

- `loudness`: from the open 16-bit WAV file to the integrated loudness. pyloudnorm, behind
  soundfile, computes that alone; FFmpeg's filter, behind PyAV, also momentary, short-term and
  range, which ours can tell as well from the sums that it keeps. Imports are not timed on
  either side; loading numba's compiled code is one.
- `truepeak`: both peers always measure loudness, so their time without the peak is taken off.
- `decode`: ours writes a scratch file, checks every sample and finds the exact length; the
  peers keep everything in memory. Everything runs in one thread on either side.
- `encode`: nine tracks. Ours encodes as many at a time as there are processors, from scratch
  files; the peers one after the other, from memory. Same bit rate, depth and quality setting.
- `job`: ours are four processes that move everything through storage, the peer is one process
  that keeps everything in memory. The network is the same, of full size with random weights.
- `separate`, `hpss`: the separation runs on OpenVINO where it is installed, as the stage does.
- `api`: the last rows are 300 submissions at once, of five owners, on a twin whose state machine
  only waits. They are answered nearly together, since the server works on all of them by turns;
  the goal is the time after which API Gateway would give them up.
- `job` and `encode` are run once on either side, and so is the peer of `hpss`: each takes
  minutes. The conversion of `job`'s network is kept beforehand, as in the image of the stages.
- On a CUDA card nothing was measured: `python -m bench separate --device cuda` is the command,
  in fp32 as its peer, and in fp16 and bf16 beside it. Decomposition and loudness have no kernels
  for a card: in a job they run on the CPU, as stages of their own.

Rows that scatter around their goal, and how far:
[decisions.md](decisions.md#2026-11-21-what-scatters-around-its-goal-is-told-as-a-range). How time
and memory grow with the length: [scaling.md](scaling.md), which `python -m bench.scaling` writes.
Noise reduction has a benchmark of its quality besides, `python -m bench denoise_quality`.
"""


def main() -> int:
    """Parse the command line and print what was measured."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("name", choices=(*NAMES, "all"))
    parser.add_argument("--json", action="store_true", help="end with one object on one line")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="what `separate` runs on (default cpu)"
    )
    given = parser.parse_args()
    if given.device and given.name != "separate":
        parser.error(f"--device is for separate; {given.name} runs on the CPU")
    failed: list[str] = []
    if given.name == "all":
        outcomes, failed = _write_report()
    else:
        settings = {"device": given.device} if given.device else {}
        outcomes = importlib.import_module(f"bench.{given.name}").measure(**settings)
    for outcome in outcomes:
        print(outcome.to_json() if given.json else _line(outcome))
    if given.json and not outcomes:
        print(json.dumps(dict.fromkeys(_KEYS) | {"name": given.name}))
    elif given.json and [outcome.name for outcome in outcomes] != [given.name]:
        print(summary(given.name, outcomes).to_json())
    return 1 if failed else 0


def _write_report() -> tuple[list[Outcome], list[str]]:
    """Run each benchmark in a process of its own, and write down what is known after each.

    One that fails, or takes longer than its limit, is told and does not end the others.

    Returns
    -------
    list of Outcome
        What was found, in the report's order.
    list of str
        Which benchmarks failed.
    """
    outcomes: list[Outcome] = []
    failed: list[str] = []
    for name in _REPORTED:
        begun = time.perf_counter()
        try:
            outcomes += _outcomes(name)
        except (subprocess.SubprocessError, ValueError, TypeError) as error:
            note(f"{name}: {error}")
            failed.append(name)
        note(f"# {name}: {time.perf_counter() - begun:.0f} s")
        _REPORT.write_text(_report([_row(outcome) for outcome in outcomes], failed))
    return outcomes, failed


def _outcomes(name: str) -> list[Outcome]:
    """What one benchmark finds, its summary left out where that is not all."""
    command = [sys.executable, "-m", "bench", name, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=_LIMIT_S)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found = [Outcome(**json.loads(line)) for line in lines]
    return [outcome for outcome in found if outcome.name != name] or found


def _report(rows: list[str], failed: list[str]) -> str:
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    machine = f"{os.cpu_count()} processors ({platform.machine()}), Python {sys.version.split()[0]}"
    text = _HEAD.format(date=date, machine=machine) + "\n".join(rows) + "\n" + _NOTES
    if failed:
        text += f"\nNot measured, because they failed: {', '.join(failed)}.\n"
    return text


def _row(outcome: Outcome) -> str:
    cells = (
        outcome.name,
        _ours(outcome),
        f"{outcome.peer:.3f} s" if outcome.peer is not None else "",
        f"{outcome.ratio:.2f}" if outcome.ratio is not None else "",
        _goal(outcome),
        f"{outcome.peak_rss_mb:.0f} MB" if outcome.peak_rss_mb else "",
        _reached(outcome),
    )
    return f"| {' | '.join(cells)} |"


def _reached(outcome: Outcome) -> str:
    if outcome.goal is None:
        return ""
    return "yes" if outcome.share >= 1 else "**no**"


def _goal(outcome: Outcome) -> str:
    if outcome.goal is None:
        return ""
    if outcome.ratio is not None:
        return f">= {outcome.goal:g} times"
    return f"<= {outcome.goal:g} {outcome.unit}"


def _ours(outcome: Outcome) -> str:
    if outcome.ours is None:
        return "-"
    if outcome.unit == "MB moved":
        return f"{outcome.ours:.0f} MB"
    return f"{outcome.ours:.3f} s" if outcome.unit in ("s", "MB") else f"{outcome.ours:.2f}"


def _line(outcome: Outcome) -> str:
    figure = _ours(outcome)
    if outcome.ratio is not None:
        figure += f", {outcome.ratio:.1f} times the peer's speed ({outcome.peer:.3f} s)"
    memory = f", peak {outcome.peak_rss_mb:.0f} MB" if outcome.peak_rss_mb else ""
    goal = f" (goal {_goal(outcome)})" if outcome.goal is not None else ""
    return f"{outcome.name}: {figure}{memory}{goal}"


if __name__ == "__main__":
    sys.exit(main())

"""Run one benchmark, or all, and print its figures."""

import argparse
import importlib
import sys

from bench.measure import Outcome

NAMES = ("overhead", "stage_start", "memory", "denoise", "denoise_quality")


def main() -> int:
    """Parse the command line and print what was measured."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("name", choices=(*NAMES, "all"))
    parser.add_argument("--json", action="store_true", help="end with one object a line")
    given = parser.parse_args()
    names = NAMES if given.name == "all" else (given.name,)
    for name in names:
        outcomes: list[Outcome] = importlib.import_module(f"bench.{name}").measure()
        for outcome in outcomes:
            print(outcome.to_json() if given.json else _line(outcome))
    return 0


def _line(outcome: Outcome) -> str:
    figure = f"{outcome.ours:.3f} s" if outcome.ours is not None else "-"
    goal = f"goal <= {outcome.goal:g} s"
    if outcome.ratio is not None:
        figure += f", {outcome.ratio:.1f} times the peer's {outcome.peer:.3f} s"
        goal = f"goal >= {outcome.goal:g} times"
    memory = f", peak {outcome.peak_rss_mb:.0f} MB" if outcome.peak_rss_mb else ""
    return f"{outcome.name}: {figure}{memory} ({goal})"


if __name__ == "__main__":
    sys.exit(main())

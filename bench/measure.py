"""What every benchmark reports, and how a process is measured from outside."""

import json
import math
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, slots=True)
class Outcome:
    """One benchmark's figures.

    Attributes
    ----------
    ours, peer : float or None
        Seconds, medians; `peer` is None where there is nothing to compare with.
    goal : float or None
        Of `ratio` where there is a peer, else the most of `unit` that there may be; None for
        what is told without one.
    peak_rss_mb : float or None
        Largest resident set of the measured process.
    unit : str
        What the goal counts where there is no peer: ``s``, ``MB`` of `peak_rss_mb`, or
        what `ours` is where it is not seconds: ``exponent`` of growth, ``times``, ``MB moved``.
    """

    name: str
    ours: float | None
    peer: float | None
    ratio: float | None
    goal: float | None
    peak_rss_mb: float | None
    unit: str = "s"

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @property
    def share(self) -> float:
        """How much of its goal was reached; 1 and above is all of it, where there is one."""
        if self.goal is None:
            return 1.0
        if self.ratio is not None:
            return self.ratio / self.goal
        spent = self.peak_rss_mb if self.unit == "MB" else self.ours
        if spent is None:
            return 0.0
        # Differences may be nothing, or less where the machine scatters.
        return self.goal / spent if spent > 0 else math.inf


def summary(name: str, outcomes: list[Outcome]) -> Outcome:
    """What a benchmark comes to: the comparison, or the goal missed, that is farthest off."""
    held = [outcome for outcome in outcomes if outcome.goal is not None]
    missed = [outcome for outcome in held if outcome.share < 1]
    compared = [outcome for outcome in held if outcome.ratio is not None]
    worst = min(missed or compared or held or outcomes, key=lambda outcome: outcome.share)
    peaks = [o.peak_rss_mb for o in outcomes if o.peak_rss_mb is not None]
    return replace(worst, name=name, peak_rss_mb=max(peaks) if peaks else None)


def paired(
    name: str,
    ours: str,
    peers: dict[str, tuple[str, float]],
    *,
    argument: str | None = None,
    runs: int = 3,
    warm_runs: int = 0,
) -> list[Outcome]:
    """Measure a program of ours and its peers, each run beside one of the peer.

    Parameters
    ----------
    ours : str
        A program for `bench.worker`.
    peers : dict of str to (str, float)
        By name, the peer's program and the ratio to reach.
    runs : int
        How often each is run; medians are taken of the times, not of the ratios.
    warm_runs : int
        How often the work is done in each process after a first time that is not counted;
        0 counts the first.
    """
    outcomes = []
    for peer, (program, goal) in peers.items():
        pairs = [
            [_worked(text, argument, warm_runs=warm_runs) for text in (ours, program)]
            for _ in range(runs)
        ]
        mine, theirs = (median([pair[n]["s"] for pair in pairs]) for n in (0, 1))
        peak, peak_of_peer = (max(pair[n]["peak_rss_mb"] for pair in pairs) for n in (0, 1))
        answers = [pair["answer"] for pair in pairs[-1]]
        note(
            f"{name}: ours {mine:.3f} s, {peak:.0f} MB, {answers[0]:.6g}; "
            f"{peer} {theirs:.3f} s, {peak_of_peer:.0f} MB, {answers[1]:.6g}"
        )
        outcomes.append(Outcome(f"{name}:{peer}", mine, theirs, theirs / mine, goal, peak))
    return outcomes


def _worked(program: str, argument: str | None, *, warm_runs: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.worker", program, str(warm_runs)]
    command += [argument] if argument else []
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    if done.returncode:
        raise RuntimeError("a benchmark's program failed")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def note(text: str) -> None:
    """Progress for whoever watches, out of the way of the figures."""
    print(text, file=sys.stderr, flush=True)

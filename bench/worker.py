"""Runs one program of a benchmark in a process of its own and says what it took.

``python -m bench.worker PROGRAM WARM_RUNS [ARGUMENT]``; without warm runs the first counts.
The program defines ``work(material)``. It may define ``material_of_peer`` or ``material`` (else
the material is the argument), and ``less``, whose time is taken off that of ``work``.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.fresh import peak_rss_mb


def main() -> None:
    """Run the program and print one line of JSON."""
    program, warm_runs, *rest = sys.argv[1:]
    names: dict[str, Any] = {}
    exec(compile(program, "benchmark", "exec"), names)  # our own text, from bench/
    make = names.get("material_of_peer") or names.get("material") or (lambda *given: given[0])
    material = make(*rest)
    if int(warm_runs):
        names["work"](material)
    seconds = [_timed(names, material) for _ in range(int(warm_runs) or 1)]
    print(
        json.dumps(
            {
                "s": statistics.median(s for s, _ in seconds),
                "answer": seconds[-1][1],
                "peak_rss_mb": peak_rss_mb(),
            }
        )
    )


def _timed(names: dict[str, Any], material: Any) -> tuple[float, float]:
    spent, answer = _seconds(names["work"], material)
    if "less" in names:
        spent -= _seconds(names["less"], material)[0]
    return spent, float(answer)


def _seconds(work: Callable[[Any], Any], material: Any) -> tuple[float, Any]:
    begun = time.perf_counter()
    answer = work(material)
    return time.perf_counter() - begun, answer


if __name__ == "__main__":
    main()

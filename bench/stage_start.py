"""How long a stage's process takes until it could begin: interpreter, imports, clients.

Goal: 1.5 s for each stage that needs no network model.
"""

from bench.fresh import run_fresh
from bench.measure import Outcome, median, note

_GOAL_S = 1.5
_RUNS = 5
_STAGES = ("decomposition", "composition", "normalization")
_PROGRAM = """
import importlib
from clearstem.settings import Settings
from clearstem.service import Service
import boto3, containers.stage
Service.over(Settings("t", "u", "w", "k", "d"), session=boto3.Session(region_name="us-east-1"))
importlib.import_module("containers.stages.{stage}")
"""


def measure() -> list[Outcome]:
    """Median of five fresh processes a stage, after one that warms the file cache."""
    outcomes = []
    for stage in _STAGES:
        program = _PROGRAM.format(stage=stage)
        run_fresh(program)
        runs = [run_fresh(program) for _ in range(_RUNS)]
        seconds = median([r.wall_s for r in runs])
        note(f"{stage}: {seconds:.2f} s")
        peak = max(r.peak_rss_mb for r in runs)
        outcomes.append(Outcome(f"stage_start:{stage}", seconds, None, None, _GOAL_S, peak))
    return outcomes

"""What the command line says of a finished job."""

import io
from pathlib import Path

from rich.console import Console

from clearstem.terminal import print_result
from functions.routes.examples import COMPLETED_JOB


def test_a_result_says_what_it_cost_and_where_each_stage_ran():
    told = io.StringIO()
    print_result(Console(file=told, width=400), {**COMPLETED_JOB}, folder=Path("out"))
    assert "about 0.0026 dollars at AWS's prices" in told.getvalue()
    assert "audio_separation 12.5 s (gpu), harmonic_percussive_separation 12.5 s (function)" in (
        told.getvalue()
    )


def test_a_stored_result_says_whose_it_is():
    told = io.StringIO()
    job = {**COMPLETED_JOB, "cache": {"hit": True, "job_id": "made-it"}}
    job["receipt"] = {"seconds": 0.0, "dollars": 0.0, "stages": []}
    print_result(Console(file=told, width=400), job, folder=Path("out"))
    assert "this is the stored result of job made-it" in told.getvalue()
    assert "about 0.0000 dollars at AWS's prices\n" in told.getvalue()

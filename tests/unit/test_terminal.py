"""What the command line says of a finished job."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from clearstem.terminal import JobBars, download_bar, plain_console, print_result
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


def test_notes_and_tracks_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    odd = "[/b] [red]solo[/] :smile:"
    console = plain_console()
    console.width = 400
    track = {**COMPLETED_JOB["tracks"][0], "name": odd}
    job = {**COMPLETED_JOB, "notes": [odd], "tracks": [track]}
    print_result(console, job, folder=Path("out"))
    told = capsys.readouterr().out
    assert f"note: {odd}\n" in told
    assert f"│ {odd} │" in told


def test_bars_are_named_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console = plain_console()
    console.width = 400
    with download_bar(console, "mine [v2] {x}") as told:
        told(1, 2)
    stage = {**COMPLETED_JOB["stages"][0], "name": "[/b] [red]mix"}
    with JobBars(console, {**COMPLETED_JOB, "stages": [stage]}):
        pass
    shown = capsys.readouterr().out
    assert "mine [v2] {x}" in shown and "[/b] [red]mix" in shown

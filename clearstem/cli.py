"""The command line: a client of any clearstem server, and the launcher of the local one."""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.text import Text

from clearstem.cli_jobs import (
    DEFAULT_URL,
    JobCommands,
    Key,
    Output,
    Url,
    connected,
    failure_of,
    labels_of,
)
from clearstem.cli_keys import KeyCommands
from clearstem.cli_models import ModelCommands, models_dir
from clearstem.cli_quotas import QuotaCommands
from clearstem.cli_webhooks import WebhookCommands
from clearstem.client import (
    Client,
    DenoiseOptions,
    JobDocument,
    NotAllowed,
    NotFound,
    SeparateOptions,
    UnexpectedAnswer,
    Unreachable,
)
from clearstem.errors import ClearstemError, JobNotFound
from clearstem.options import DenoiserChoice, EngineChoice
from clearstem.service import Service
from clearstem.settings import Settings
from clearstem.smoke import smoke
from clearstem.terminal import follow, outlived, plain_console, print_result
from clearstem.twin import DEFAULT_STATE, ending_on_sigterm, enter, running_twin, twin

app = typer.Typer(
    help="Noise removal for speech and separation of music into nine tracks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# As the server names it; other things are named by their own errors.
_NO_JOB = f"Clearstem.{JobNotFound.__name__}"

_console = plain_console()
_errors = plain_console(stderr=True)


class OutputFormat(StrEnum):
    """What tracks can be written as."""

    WAV = "wav"
    FLAC = "flac"
    MP3 = "mp3"
    OGG = "ogg"
    M4A = "m4a"
    OPUS = "opus"
    AIFF = "aiff"


Engine = Annotated[EngineChoice, typer.Option(help="Separator; auto takes the best there is.")]
Denoiser = Annotated[DenoiserChoice, typer.Option(help="Denoiser; auto takes the best there is.")]
Cache = Annotated[
    bool, typer.Option(help="Take the stored result of the same recording and options.")
]
Labels = Annotated[list[str] | None, typer.Option("--label", help="name:value; any number.")]
Hours = Annotated[
    float | None,
    typer.Option("--retention-hours", help="After so long the job is deleted, files and all."),
]
Callback = Annotated[
    str | None, typer.Option("--callback-url", help="Is told of the job's events, signed.")
]
Format = Annotated[OutputFormat, typer.Option("--format", help="File format of the tracks.")]
State = Annotated[Path, typer.Option("--state", help="Folder the local server keeps its state in.")]


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 8000,
    state: State = DEFAULT_STATE,
    require_key: Annotated[
        bool, typer.Option("--require-key", help="Refuse calls without an API key.")
    ] = False,
    model: Annotated[
        str, typer.Option(help="Separation model; else htdemucs, where its file is found.")
    ] = "",
    oidc: Annotated[
        tuple[str, str, str],
        typer.Option(
            help="Take bearer tokens: their issuer, their audience, the address of its keys."
        ),
    ] = ("", "", ""),
    ready_file: Annotated[
        Path | None, typer.Option(help='Written with {"url","pid"} once the server answers.')
    ] = None,
) -> None:
    """Serve clearstem on this machine until Ctrl-C."""
    command = [sys.executable, "-m", "infra.local.launcher", "--port", str(port)]
    command += ["--state", str(state), "--models", str(models_dir())]
    command += ["--require-key"] if require_key else []
    command += ["--model", model] if model else []
    command += ["--oidc", *oidc] if any(oidc) else []
    command += ["--ready-file", str(ready_file)] if ready_file else []
    # The server takes this process's place, so that a signal to it is a signal to the server.
    os.execv(command[0], command)  # noqa: S606


@app.command()
def separate(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    output: Output = Path("out"),
    engine: Engine = EngineChoice.AUTO,
    output_format: Format = OutputFormat.WAV,
    cache: Cache = True,
    label: Labels = None,
    retention_hours: Hours = None,
    callback_url: Callback = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Separate a recording into nine tracks and write them, with report.json, to a folder."""
    options = _options(engine, output_format, cache=cache)
    with _told_errors(), connected(url, key) as client:
        job = client.separate(
            file,
            options,
            labels=labels_of(label or ()),
            retention_hours=retention_hours,
            callback_url=callback_url,
        )
        _follow(client, job, output=output)


@app.command()
def denoise(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    output: Output = Path("out"),
    engine: Denoiser = DenoiserChoice.AUTO,
    output_format: Annotated[
        str, typer.Option("--format", help="File format; else the recording's own.")
    ] = "",
    strength: Annotated[
        float, typer.Option(min=1, max=100, help="How much of the noise goes, in percent.")
    ] = 100.0,
    level: Annotated[
        float | None, typer.Option(help="Loudness to bring it to, in LUFS; else it stays.")
    ] = None,
    cache: Cache = True,
    label: Labels = None,
    retention_hours: Hours = None,
    callback_url: Callback = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Take the noise off a recording, audio or video, and write it to a folder."""
    options: DenoiseOptions = {"engine": engine.value, "strength": strength, "cache": cache}
    if output_format:
        options["format"] = output_format
    if level is not None:
        options["target_lufs"] = level
    with _told_errors(), connected(url, key) as client:
        job = client.denoise(
            file,
            options,
            labels=labels_of(label or ()),
            retention_hours=retention_hours,
            callback_url=callback_url,
        )
        _follow(client, job, output=output)


@app.command()
def status(
    job_id: Annotated[str, typer.Argument(metavar="JOB")], url: Url = DEFAULT_URL, key: Key = ""
) -> None:
    """Print a job's document."""
    with _told_errors(job_id), connected(url, key) as client:
        _console.print_json(data=client.job(job_id))


@app.command("smoke")
def smoke_test(url: Url = DEFAULT_URL, key: Key = "") -> None:
    """Run a two-second job through a server and check what comes back."""
    with _told_errors(), connected(url, key) as client:
        smoke(client, say=_console.print)


@app.command()
def demo(
    file: Annotated[Path | None, typer.Argument(exists=True, dir_okay=False)] = None,
    output: Output = Path("out"),
    engine: Engine = EngineChoice.AUTO,
    output_format: Format = OutputFormat.WAV,
) -> None:
    """Start a server, separate a song (our own if none is given), stop the server."""
    with (
        _told_errors(),
        ending_on_sigterm(128 + signal.SIGTERM),  # as a shell tells it
        tempfile.TemporaryDirectory(prefix="clearstem-demo-") as folder,
    ):
        song = file or _own_song(Path(folder))
        _console.print("starting the local twin …")
        state = Path(folder) / "state"
        with twin(state=state, models=models_dir()) as url, Client(url) as client:
            _console.print(f"it answers at {url}")
            job = client.separate(song, _options(engine, output_format))
            _write(client, _completed(client, job), output=output)


@app.command()
def invoke(
    function: Annotated[str, typer.Argument(help="A module of functions/: drop, push, settle …")],
    event: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    state: State = DEFAULT_STATE,
) -> None:
    """Call a function's handler with a recorded event, against the running local server."""
    with _told_errors():
        enter(running_twin(state).environment)
        handler = importlib.import_module(f"functions.{function}").handler
        answer = handler(_localized(event.read_text()), LambdaContext(function))
        _console.print_json(data=answer)


def _localized(text: str) -> Any:
    """A recorded event with this deployment's buckets in place of the recorded ones."""
    settings = Settings.from_env()
    for kind, bucket in (
        ("drop", settings.drop_bucket),
        ("uploads", settings.uploads_bucket),
        ("tracks", settings.tracks_bucket),
    ):
        text = text.replace(f"clearstem-{kind}-123456789012", bucket)
    return json.loads(text)


class LambdaContext:
    """What a handler may ask of its invocation, where nobody invoked it."""

    def __init__(self, function: str) -> None:
        self.function_name = function
        self.memory_limit_in_mb = 512
        self.invoked_function_arn = f"arn:aws:lambda:local:000000000000:function:{function}"
        self.aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """As long as a function behind API Gateway has."""
        return 29_000


def _service(state: Path) -> Service:
    """The core of the server named by the environment, else of the running local one."""
    if "CLEARSTEM_TABLE" not in os.environ:
        enter(running_twin(state).environment)
    return Service.from_env()


def _own_song(folder: Path) -> Path:
    path = folder / "own-song.wav"
    subprocess.run([sys.executable, "-m", "containers.audio.song", str(path)], check=True)  # noqa: S603
    return path


def _options(
    engine: EngineChoice, output_format: OutputFormat, *, cache: bool = True
) -> SeparateOptions:
    return {"engine": engine.value, "format": output_format.value, "cache": cache}


def _follow(client: Client, job: JobDocument, *, output: Path) -> None:
    """Show a job of a server that stays until it is over, then write what came of it."""
    with outlived(job):
        job = _completed(client, job)
        try:
            _write(client, job, output=output)
        except (ClearstemError, OSError) as exc:
            again = f"clearstem download {job['job_id']} --output FOLDER"
            raise ClearstemError(f"{exc}; the job is done, fetch its tracks by: {again}") from exc


def _completed(client: Client, job: JobDocument) -> JobDocument:
    """Show a job until it is over; raises where it failed."""
    _console.print(f"job {job['job_id']}: {job['file_name']}")
    job = follow(_console, client, job)
    if job["status"] != "completed":
        raise ClearstemError(failure_of(job))
    return job


def _write(client: Client, job: JobDocument, *, output: Path) -> None:
    """Write a job's tracks and report.json to a folder."""
    files = {track: path.name for track, path in client.download_all(job, output).items()}
    report = output / "report.json"
    report.write_text(json.dumps({**job, "files": files}, indent=2, ensure_ascii=False) + "\n")
    print_result(_console, job, folder=output)


@contextmanager
def _told_errors(job_id: str = "") -> Iterator[None]:
    """Turn what a user can mend into one line and exit code 1.

    Parameters
    ----------
    job_id : str
        The job that a command is about, for an error that does not name it.
    """
    try:
        yield
    except Unreachable as exc:
        _fail(f"{exc}; start one with: clearstem up")
    except UnexpectedAnswer as exc:
        _fail(f"{exc}; name a clearstem server by --url or CLEARSTEM_URL")
    except NotFound as exc:
        which = f": {job_id}; clearstem list shows those that there are"
        _fail(f"{exc}{which if exc.name == _NO_JOB else ''}")
    except NotAllowed as exc:
        unknown = exc.status == HTTPStatus.UNAUTHORIZED
        _fail(
            f"{exc}; give a good one by --key, CLEARSTEM_KEY or CLEARSTEM_TOKEN"
            if unknown
            else str(exc)
        )
    except (ClearstemError, httpx.HTTPError, OSError) as exc:
        _fail(str(exc))


JobCommands(_console, told_errors=_told_errors).add_to(app)
KeyCommands(_console, told_errors=_told_errors, service=_service).add_to(app)
ModelCommands(_console, told_errors=_told_errors).add_to(app)
WebhookCommands(_console, told_errors=_told_errors).add_to(app)
QuotaCommands(_console, told_errors=_told_errors, service=_service).add_to(app)


def _fail(message: str) -> None:
    _errors.print(Text("error:", style="bold red"), message, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()

"""Commands for weights: which there are, where they lie, how they come."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from clearstem import models, weights
from clearstem.cli_jobs import Told
from clearstem.denoisers import DENOISERS
from clearstem.errors import ClearstemError
from clearstem.terminal import download_bar

ModelName = Annotated[str, typer.Argument(help="As `models list` shows it.")]


def models_dir() -> Path:
    """The folder of weights: ``CLEARSTEM_MODELS_DIR``, else the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("CLEARSTEM_MODELS_DIR") or cache / "clearstem" / "models")


class ModelCommands:
    """The commands, over one console.

    Parameters
    ----------
    told_errors : callable
        A context manager in which every command runs.
    """

    def __init__(self, console: Console, *, told_errors: Told) -> None:
        self._console = console
        self._told_errors = told_errors

    def add_to(self, app: typer.Typer) -> None:
        """Register the commands as a group."""
        group = typer.Typer(help="Weights of separators and denoisers.", no_args_is_help=True)
        for name in ("list", "fetch", "path"):
            group.command(name)(getattr(self, name))
        app.add_typer(group, name="models")

    def list(self) -> None:
        """List the models and whether their weights are here."""
        with self._told_errors():
            folder = models_dir()
            table = Table("model", "here", "size", "sha256", "licence")
            for model in _published().values():
                here = weights.is_here(model, models_dir=folder)
                size = f"{model.size_bytes / 1e6:.1f} MB"
                row = ("yes" if here else "no", size, model.sha256[:12] + "…", model.licence)
                table.add_row(model.name, *row)
            self._console.print(table)

    def fetch(self, name: ModelName = models.HTDEMUCS.name) -> None:
        """Download a model's weights from their publisher, checked by sha256."""
        with self._told_errors():
            model = _model(name)
            self._console.print(f"{model.name}: {model.licence}")
            with download_bar(self._console, model.name) as progress:
                paths = _fetched(model, progress)
            for path, file in zip(paths, model.files, strict=True):
                pinned = f"a sha256 that begins {file.sha256}"
                right = "the right sha256" if file.is_pinned else pinned
                self._console.print(f"{path} has {right}")
            if told := weights.partly_known(model):
                self._console.print(told)

    def path(self, name: ModelName = models.HTDEMUCS.name) -> None:
        """Print where a model's files are looked for."""
        with self._told_errors():
            for file in _model(name).files:
                path = weights.weights_path(file, models_dir=models_dir())
                self._console.print(str(path), highlight=False, soft_wrap=True)


def _published() -> dict[str, weights.Published]:
    """Whatever has weights, by name: separators, the operator's own among them, and denoisers."""
    denoisers: dict[str, weights.Published] = {each.name: each for each in DENOISERS}
    return denoisers | dict(models.known_models(models_dir()))


def _model(name: str) -> weights.Published:
    known = _published()
    if name not in known:
        raise ClearstemError(f"model {name!r} is not one of {', '.join(sorted(known))}")
    return known[name]


def _fetched(model: weights.Published, progress: Callable[[int, int], None]) -> tuple[Path, ...]:
    folder = models_dir()
    try:
        return weights.fetch(model, models_dir=folder, stream=_http_chunks, progress=progress)
    except httpx.HTTPError as exc:
        wanted = "; ".join(
            f"{file.url} to {weights.weights_path(file, models_dir=folder)} (sha256 {file.sha256})"
            for file in model.files
        )
        raise ClearstemError(
            f"it cannot be had from here: {exc}; fetch it elsewhere: {wanted}"
        ) from exc


def _http_chunks(url: str) -> Iterator[bytes]:
    with httpx.stream("GET", url, follow_redirects=True, timeout=60.0) as answer:
        answer.raise_for_status()
        yield from answer.iter_bytes(1 << 20)

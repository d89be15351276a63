"""Random networks of the sizes that benchmarks need; their speed is that of trained ones."""

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.htdemucs import HTDemucs

SOURCES = ["drums", "bass", "other", "vocals"]
# The published htdemucs, 41,984,456 parameters.
FULL: dict[str, Any] = {
    "sources": SOURCES,
    "samplerate": 44_100,
    "segment": Fraction(39, 5),
    "channels": 48,
    "bottom_channels": 512,
    "t_layers": 5,
    "dconv_mode": 3,
    "t_norm_in_group": False,
}


def random_network() -> HTDemucs:
    """An HTDemucs of full size with the same random weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: HTDemucs = HTDemucs(**FULL).eval()
    return network


def write_model(folder: Path) -> str:
    """Put the network into a models folder and list it; returns its name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "random.th"
    package = {
        "klass": HTDemucs,
        "args": (),
        "kwargs": FULL,
        "state": random_network().state_dict(),
    }
    torch.save(package, path)
    entry = {
        "name": "random",
        "file_name": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "size_bytes": path.stat().st_size,
        "licence": "random numbers",
    }
    (folder / "models.json").write_text(json.dumps([entry]))
    return "random"

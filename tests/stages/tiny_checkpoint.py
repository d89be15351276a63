"""A tiny HTDemucs (77,000 random parameters) in the two formats that real weights come in."""

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file

from containers.audio.weights import Checkpoint

SOURCES = ["drums", "bass", "other", "vocals"]
# Of the published networks; what it costs to trace, convert or run one grows with it.
SEGMENT = Fraction(39, 5)
# For tests that look at other things than how segments meet.
SHORT = Fraction(1)


def architecture(**changes: Any) -> dict[str, Any]:
    """Arguments of an HTDemucs that is real in every part and small in all of them."""
    return {
        "sources": SOURCES,
        "samplerate": 44_100,
        "segment": SEGMENT,
        "channels": 4,
        "growth": 2,
        "nfft": 4096,
        "depth": 4,
        "bottom_channels": 0,
        "t_layers": 1,
        "t_heads": 4,
        "t_hidden_scale": 1.0,
        "dconv_mode": 0,
    } | changes


def tiny_model(*, seed: int = 0, **changes: Any) -> HTDemucs:
    """The network, with the same random weights for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HTDemucs(**architecture(**changes)).eval()


def safetensors_metadata(*, segment: Fraction = SEGMENT, **changes: str) -> dict[str, str]:
    """What ``demucs.hf`` writes beside the weights."""
    arguments = architecture()
    arguments["segment"] = {
        "_type": "fraction",
        "numerator": segment.numerator,
        "denominator": segment.denominator,
    }
    described = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": "[]",
        "kwargs": json.dumps(arguments),
    }
    return described | changes


def pinned(path: Path) -> Checkpoint:
    """`path` as a checkpoint whose checksum is right."""
    return Checkpoint("tiny", path, hashlib.sha256(path.read_bytes()).hexdigest())


def write_safetensors(
    folder: Path, *, seed: int = 0, segment: Fraction = SEGMENT, **metadata: str
) -> Checkpoint:
    """The network as demucs 4.1 keeps it on its hub; its weights are those of any segment."""
    path = folder / "tiny.safetensors"
    state = {name: value.contiguous() for name, value in tiny_model(seed=seed).state_dict().items()}
    save_file(state, path, metadata=safetensors_metadata(segment=segment, **metadata))
    return pinned(path)


def write_package(folder: Path) -> Checkpoint:
    """The network as demucs trained it: a pickle, weights in half precision."""
    path = folder / "tiny.th"
    state = {name: value.half() for name, value in tiny_model().state_dict().items()}
    package = {
        "klass": HTDemucs,
        "args": (),
        "kwargs": architecture(),
        "state": state,
        "training_args": {},
    }
    torch.save(package, path)
    return pinned(path)

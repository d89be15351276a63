"""Loading a separation network from a file that is known to the byte.

A checkpoint is data from elsewhere. It is read once, its sha256 is compared with the pinned
one, and what is loaded is the bytes that were compared. Of some files only the beginning of
that sum is known (`clearstem.weights.has_sum`). Neither of the two formats may name code of its
own choice: a pickle is read by torch's restricted reader, and the class named in a safetensors
file's metadata is looked up in a fixed list (``demucs.hf`` would import and call whatever it
says). Nothing here opens a connection, and ``demucs.pretrained``, which does, is not used.
"""

import hashlib
import io
import json
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from demucs.states import load_model
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from clearstem.errors import (
    MissingWeights,
    UnsafeCheckpoint,
    UnusableCheckpoint,
    WrongChecksum,
)
from clearstem.weights import has_sum

_CLASSES = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in (HTDemucs, HDemucs, Demucs)}


def load_checkpoint(path: Path | None, *, sha256: str, model: str = "htdemucs") -> torch.nn.Module:
    """The network stored in `path`, in evaluation mode on the CPU.

    Parameters
    ----------
    path
        A ``.safetensors`` file with the metadata of ``demucs.hf`` (demucs 4.1) or a ``.th``
        package of ``demucs.states``; None where no file is configured.
    sha256
        The pinned checksum of the whole file: 64 hexadecimal digits, or as many of the first,
        8 at least, as its publisher tells.
    model
        Its name, for messages.

    Returns
    -------
    torch.nn.Module
        An HTDemucs, HDemucs or Demucs network, float32.

    Raises
    ------
    MissingWeights
        If there is no such file; says where it was looked for and what fetches it.
    WrongChecksum
        If the file is another one than the one pinned; gives both sums.
    UnsafeCheckpoint
        If it names code other than Demucs's networks.
    UnusableCheckpoint
        If it is whole and harmless, but not a single network in one of the two formats.
    """
    content = _verified(path, sha256, model)
    name = path.name if path else model
    if name.endswith(".safetensors"):
        package = _safetensors_package(content, name)
    elif name.endswith(".th"):
        package = _pickled_package(content, name)
    else:
        msg = (
            f"{name}: a checkpoint is one .safetensors or .th file; "
            "a bag is listed by its parts in models.json"
        )
        raise UnusableCheckpoint(msg)
    return _network(package, name)


def _verified(path: Path | None, sha256: str, model: str) -> bytes:
    remedy = f"run `clearstem models fetch {model}`, or choose the engine `spectral`"
    if path is None:
        msg = f"no weights of {model}: no checkpoint file is configured; {remedy}"
        raise MissingWeights(msg)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as exc:
        msg = f"no weights of {model}: looked for the file {path}; {remedy}"
        raise MissingWeights(msg) from exc
    found = hashlib.sha256(content).hexdigest()
    if not has_sum(found, pinned=sha256):
        msg = f"{path}: sha256 is {found}, pinned is {sha256.lower()}; {remedy}"
        raise WrongChecksum(msg)
    return content


def _pickled_package(content: bytes, name: str) -> Any:
    allowed = [*_CLASSES.values(), Fraction]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(io.BytesIO(content), "cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        msg = f"{name}: not a pickle of Demucs networks and plain values alone"
        raise UnsafeCheckpoint(msg) from exc
    except (RuntimeError, ValueError, EOFError) as exc:
        msg = f"{name}: not a file that torch.save wrote"
        raise UnusableCheckpoint(msg) from exc


def _safetensors_package(content: bytes, name: str) -> dict[str, Any]:
    try:
        state = load_tensors(content)
        header = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + header])["__metadata__"]
        wanted, args, kwargs = (metadata[key] for key in ("klass", "args", "kwargs"))
    except (SafetensorError, KeyError, ValueError) as exc:
        msg = f"{name}: not a safetensors file with the metadata that demucs.hf writes"
        raise UnusableCheckpoint(msg) from exc
    if wanted not in _CLASSES:
        msg = f"{name}: asks for {wanted}; accepted are {', '.join(_CLASSES)}"
        raise UnsafeCheckpoint(msg)
    if "structure" in metadata:
        msg = f"{name}: holds quantized weights, which are not supported"
        raise UnusableCheckpoint(msg)
    return {
        "klass": _CLASSES[wanted],
        "args": json.loads(args, object_hook=_fraction),
        "kwargs": json.loads(kwargs, object_hook=_fraction),
        "state": state,
    }


def _fraction(value: dict[str, Any]) -> Any:
    """Undo the one encoding that ``demucs.hf`` adds to JSON."""
    if value.get("_type") == "fraction":
        return Fraction(value["numerator"], value["denominator"])
    return value


def _network(package: Any, name: str) -> torch.nn.Module:
    if not isinstance(package, dict) or package.get("klass") not in _CLASSES.values():
        msg = f"{name}: holds no single Demucs network; a bag is listed by its parts in models.json"
        raise UnusableCheckpoint(msg)
    try:
        network: torch.nn.Module = load_model(package)  # type: ignore[no-untyped-call]
    except (KeyError, TypeError, ValueError, RuntimeError) as exc:
        msg = f"{name}: its weights do not fit the network it describes ({exc})"
        raise UnusableCheckpoint(msg) from exc
    return network.eval()

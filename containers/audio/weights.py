"""What a set of weights is: its file or files, each known by its sha256.

Apart from `containers.audio.checkpoints`, which reads them and needs torch for it.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of a network.

    Attributes
    ----------
    model
        The network's name, as it is reported.
    path
        Its file, ``.safetensors`` or ``.th``.
    sha256
        The checksum that the file must have, or as many of its first digits as are known.
    """

    model: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Bag:
    """The weights of several networks whose answers are averaged.

    Attributes
    ----------
    model
        The bag's name, as it is reported.
    parts
        A checkpoint for each network.
    weights
        For each network, the weight of each of its stems, in the order in which the
        networks name them.
    sha256
        One checksum for all: what `clearstem.models` calls the bag's sum.
    """

    model: str
    parts: tuple[Checkpoint, ...]
    weights: tuple[tuple[float, ...], ...]
    sha256: str

"""Blocks made in a thread of their own, while those before them are being worked on."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

# Enough that neither side waits for the other's slowest block; 0.5 MB each in stereo.
_AHEAD = 4


def read_ahead(blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The same blocks in the same order, up to four of them made before they are asked for.

    Decoders release the GIL, so a decoder and what listens to it keep two processors busy.
    What making a block raises is raised here, in that block's place. Nobody else may use
    `blocks`, or what it reads from, until this has ended or is closed.
    """
    with ThreadPoolExecutor(1) as pool:
        pending = deque(pool.submit(next, blocks, None) for _ in range(_AHEAD))
        while (block := pending.popleft().result()) is not None:
            pending.append(pool.submit(next, blocks, None))
            yield block

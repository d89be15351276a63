"""What the stage that decodes keeps of the original for the stage that encodes."""

import json
from pathlib import Path

from clearstem.facts import AudioFormat
from containers.audio.stream import Decoded
from containers.workspace import Workspace


def keep_labels(space: Workspace, decoded: Decoded) -> None:
    """Leave ``tags`` and, if there is one, ``cover``."""
    path = space.scratch / "tags.json"
    path.write_text(json.dumps(dict(decoded.tags), ensure_ascii=False))
    space.keep("tags", path, frames=0)
    if decoded.cover is not None:
        _keep_cover(space, space.scratch / "cover", decoded.cover)


def _keep_cover(space: Workspace, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    space.keep("cover", path, frames=0)


def tags(space: Workspace, *, of: str) -> dict[str, str]:
    """The tags that stage `of` left."""
    found: dict[str, str] = json.loads(space.artifact("tags", of=of).read_text())
    return found


def cover(space: Workspace, *, of: str) -> bytes | None:
    """The cover that stage `of` left, JPEG or PNG; None where there was none."""
    if "cover" not in space.artifacts_of(of):
        return None
    return space.artifact("cover", of=of).read_bytes()


def audio_format(decoded: Decoded) -> AudioFormat:
    """What the original turned out to be, as the job's record has it."""
    found = decoded.format
    return AudioFormat(
        container=found.container,
        codec=found.codec,
        rate_hz=found.rate_hz,
        channels=found.channels,
        frames=found.frames,
        bit_depth=found.bit_depth,
    )

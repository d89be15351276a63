"""Wire formats: a job as the clients of each API know it, and nothing else.

Free of web frameworks, so that the push function renders with the same code
as the API and still starts fast.
"""

from typing import Final

from clearstem.broadcast import Render
from functions.dialects import audo, pipeline

DEFAULT: Final = "pipeline"

# How each dialect's WebSocket clients are told the state of a job.
RENDERERS: Final[dict[str, Render]] = {
    DEFAULT: lambda job, _: pipeline.render(job),
    "audo": audo.render,
}

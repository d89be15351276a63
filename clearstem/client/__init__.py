"""A client of the pipeline API: `Client`, and `AsyncClient` on asyncio.

Recordings go straight to storage and are resumed part by part; jobs are
submitted once however often a call is repeated, watched over WebSocket, event
stream or by asking, whichever gets through; tracks appear when they are whole.
"""

from clearstem.client.asynchronous import AsyncClient
from clearstem.client.documents import (
    ConfigDocument,
    DenoiseOptions,
    EventDocument,
    JobDocument,
    QuoteDocument,
    ReceiptDocument,
    SeparateOptions,
    TrackDocument,
    is_final,
)
from clearstem.client.errors import (
    BadRequest,
    ClientError,
    Conflict,
    DamagedDownload,
    FileChanged,
    NotAllowed,
    NotFound,
    Refused,
    ServerFailed,
    TooManyRequests,
    UnexpectedAnswer,
    Unreachable,
    UploadStalled,
)
from clearstem.client.retrying import Retry
from clearstem.client.synchronous import BlockingWatch, Client
from clearstem.client.watching import Watch, Way

__all__ = [
    "AsyncClient",
    "BadRequest",
    "BlockingWatch",
    "Client",
    "ClientError",
    "ConfigDocument",
    "Conflict",
    "DamagedDownload",
    "DenoiseOptions",
    "EventDocument",
    "FileChanged",
    "JobDocument",
    "NotAllowed",
    "NotFound",
    "QuoteDocument",
    "ReceiptDocument",
    "Refused",
    "Retry",
    "SeparateOptions",
    "ServerFailed",
    "TooManyRequests",
    "TrackDocument",
    "UnexpectedAnswer",
    "Unreachable",
    "UploadStalled",
    "Watch",
    "Way",
    "is_final",
]

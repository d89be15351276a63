"""A client of the pipeline API: `Client`, and `AsyncClient` on asyncio.

Recordings go straight to storage and are resumed part by part; jobs are
submitted once however often a call is repeated, watched over WebSocket, event
stream or by asking, whichever gets through; tracks appear when they are whole.
`verify` is for those who are told of jobs by webhooks.
"""

from clearstem.client.asynchronous import AsyncClient
from clearstem.client.config_documents import ConfigDocument
from clearstem.client.documents import (
    DenoiseOptions,
    EventDocument,
    JobAsked,
    JobDocument,
    ReceiptDocument,
    RetentionDocument,
    SeparateOptions,
    TrackDocument,
    UsageDocument,
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
    NotGenuine,
    Refused,
    ServerFailed,
    TooManyRequests,
    UnexpectedAnswer,
    Unreachable,
    UploadStalled,
)
from clearstem.client.job_calls import UNCHANGED
from clearstem.client.retrying import Retry
from clearstem.client.submission_documents import QuoteDocument, ReasonDocument, ResultDocument
from clearstem.client.synchronous import BlockingWatch, Client, Webhooks
from clearstem.client.watching import Watch, Way
from clearstem.client.webhook_documents import (
    DeliveryDocument,
    MessageDocument,
    NewWebhookDocument,
    SecretDocument,
    WebhookDocument,
)
from clearstem.client.webhooks import AsyncWebhooks, verify

__all__ = [
    "UNCHANGED",
    "AsyncClient",
    "AsyncWebhooks",
    "BadRequest",
    "BlockingWatch",
    "Client",
    "ClientError",
    "ConfigDocument",
    "Conflict",
    "DamagedDownload",
    "DeliveryDocument",
    "DenoiseOptions",
    "EventDocument",
    "FileChanged",
    "JobAsked",
    "JobDocument",
    "MessageDocument",
    "NewWebhookDocument",
    "NotAllowed",
    "NotFound",
    "NotGenuine",
    "QuoteDocument",
    "ReasonDocument",
    "ReceiptDocument",
    "Refused",
    "ResultDocument",
    "RetentionDocument",
    "Retry",
    "SecretDocument",
    "SeparateOptions",
    "ServerFailed",
    "TooManyRequests",
    "TrackDocument",
    "UnexpectedAnswer",
    "Unreachable",
    "UploadStalled",
    "UsageDocument",
    "Watch",
    "Way",
    "WebhookDocument",
    "Webhooks",
    "is_final",
    "verify",
]

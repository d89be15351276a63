"""What the API's description shows of webhooks and tickets."""

from typing import Final

from functions.dialects import webhooks as documents

WEBHOOK: Final[documents.WebhookDocument] = {
    "webhook_id": "9b2f6c1e-7a64-4b0e-8a55-1f2d3c4b5a69",
    "url": "https://example.org/hooks/clearstem",
    "events": ["job.succeeded", "job.failed"],
    "created_at": "2024-01-15T10:30:45.123456",
    "disabled_at": None,
}

NEW_WEBHOOK: Final[documents.NewWebhookDocument] = {
    "webhook_id": WEBHOOK["webhook_id"],
    "url": WEBHOOK["url"],
    "events": WEBHOOK["events"],
    "created_at": WEBHOOK["created_at"],
    "disabled_at": None,
    "secret": "whsec_…",
    "previous_secret_until": None,
}

WEBHOOKS: Final[documents.WebhooksDocument] = {"webhooks": [WEBHOOK]}

SECRET: Final[documents.SecretDocument] = {
    "secret": "whsec_…",
    "previous_secret_until": "2024-01-16T10:30:45.123456",
}

DELIVERY: Final[documents.DeliveryDocument] = {
    "event_id": "evt_3f1c2d4e-5a6b-4c7d-8e9f-0a1b2c3d4e5f_14",
    "type": "job.succeeded",
    "job_id": "3f1c2d4e-5a6b-4c7d-8e9f-0a1b2c3d4e5f",
    "status": "pending",
    "created_at": "2024-01-15T10:34:45.123456",
    "attempts": 1,
    "next_attempt_at": "2024-01-15T10:34:51.123456",
    "tries": [
        {
            "at": "2024-01-15T10:34:46.123456",
            "duration_s": 0.214,
            "status": 500,
            "error": "the receiver answered 500",
        }
    ],
}

DELIVERIES: Final[documents.DeliveriesDocument] = {
    "deliveries": [DELIVERY],
    "next_cursor": None,
}

TICKET: Final = {"ticket": "…", "expires_in_s": 60}

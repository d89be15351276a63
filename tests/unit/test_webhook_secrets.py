"""Signatures, as the published library sees them, and rotation without a gap."""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from clearstem.webhook_secrets import Secrets, new_secret, signed_headers

BODY = '{"type":"job.succeeded","data":{"file_name":"Größe.wav"}}'


def now() -> datetime:
    return datetime.now(UTC)  # the library compares with the clock


def signed(secrets: Secrets, *, at: datetime) -> dict[str, str]:
    return dict(signed_headers(BODY, event_id="evt_1", signing=secrets, at=at))


def test_the_published_library_verifies_what_is_signed():
    secret = new_secret()
    assert Webhook(secret).verify(BODY.encode(), signed(Secrets(secret), at=now()))


def test_another_body_another_id_and_another_secret_are_not_verified():
    secret = new_secret()
    headers = signed(Secrets(secret), at=now())
    for changed in (
        (secret, BODY.replace("succeeded", "failed"), headers),
        (secret, BODY, {**headers, "webhook-id": "evt_2"}),
        (new_secret(), BODY, headers),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(changed[0]).verify(changed[1], changed[2])


def test_secrets_are_long_enough_and_never_the_same():
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    assert all(secret.startswith("whsec_") and len(secret) == 50 for secret in made)


def test_at_every_moment_of_a_rotation_either_secret_verifies():
    old, new = new_secret(), new_secret()
    # The library looks at the clock, so the rotation is moved and not the clock.
    for age in (timedelta(0), timedelta(hours=12), timedelta(hours=23, minutes=59)):
        rotated = Secrets(old).rotated(new, rotation="r1", at=now() - age)
        headers = signed(rotated, at=now())
        assert Webhook(old).verify(BODY, headers) == Webhook(new).verify(BODY, headers)


def test_a_day_after_a_rotation_the_old_secret_signs_no_more():
    old, new = new_secret(), new_secret()
    rotated = Secrets(old).rotated(new, rotation="r1", at=now() - timedelta(hours=24))
    headers = signed(rotated, at=now())
    assert Webhook(new).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(BODY, headers)


def test_a_second_rotation_leaves_two_secrets_and_not_three():
    at = now()
    secrets = Secrets("whsec_YQ==").rotated("whsec_Yg==", rotation="r1", at=at)
    secrets = secrets.rotated("whsec_Yw==", rotation="r2", at=at)
    assert secrets.active(at=at) == ("whsec_Yw==", "whsec_Yg==")


def test_the_same_rotation_again_changes_nothing():
    at = now()
    once = Secrets("whsec_YQ==").rotated("whsec_Yg==", rotation="r1", at=at)
    assert once.rotated("whsec_Yw==", rotation="r1", at=at + timedelta(hours=1)) == once

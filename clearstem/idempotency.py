"""Answers kept for a day by the key that the caller gave his request.

Whoever claims a key works, whoever comes with it later is given the same answer.
A claim reserves the ids of what it may make: where the process dies between
making a job and keeping the answer, the claim is taken over after a minute, and
the job that is there already is found under the id that it was to get. So no
retry makes a second job, upload or webhook, however the first one ended.

Item: ``ONCE#<owner>#<sha256 of the key>`` / ``ONCE``.
"""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from clearstem.errors import InvalidRequest, KeyReused
from clearstem.records import Item
from clearstem.table_keys import Partition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEPT: Final = timedelta(hours=24)
# Longer than anything takes but an upload; of that, see the module.
_CLAIMED: Final = timedelta(seconds=60)
_RETRY_S: Final = 2
_LONGEST_KEY: Final = 255
# Nobody used the key within the day.
_FREE: Final = "attribute_not_exists(pk) OR kept_until <= :now"
# It is still the claim that was seen, and its answer is not known.
_SAME_CLAIM: Final = "claim_id = :seen AND attribute_not_exists(answer)"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer a request.

    Attributes
    ----------
    reserved : str
        A UUID, from which the ids of what is made are made.
    """

    pk: str
    claim_id: str
    reserved: str

    def ids(self) -> Callable[[], str]:
        """The ids of what this request makes, in order, at whatever attempt."""
        numbers = count()
        return lambda: str(uuid5(UUID(self.reserved), str(next(numbers))))


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer given before.

    Attributes
    ----------
    fingerprint : str
        Of the request that it was given to.
    """

    fingerprint: str
    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class IdempotencyTable:
    """The table's kept answers."""

    client: "DynamoDBClient"
    table: str

    def claim(self, key: str, *, owner: str, new_id: str, at: datetime) -> Claim | Kept:
        """Claim a key, or get the answer that was given under it.

        Parameters
        ----------
        new_id : str
            A fresh UUID.

        Raises
        ------
        InvalidRequest
            The key is not 1 to 255 visible ASCII characters.
        KeyReused
            A request with this key is still under way.
        """
        if not 1 <= len(key) <= _LONGEST_KEY or not (key.isascii() and key.isprintable()):
            raise InvalidRequest(f"Idempotency-Key is not 1 to {_LONGEST_KEY} visible characters")
        pk = f"{Partition.ONCE}{owner}#{hashlib.sha256(key.encode()).hexdigest()}"
        claim = Claim(pk, claim_id=new_id, reserved=new_id)
        found = self._put(claim, at=at)
        if found is None or _is_ours(found, claim):
            return claim
        if "answer" in found:
            return _kept(found)
        return self._taken_over(found, claim, at=at)

    def keep(self, claim: Claim, answer: Kept) -> None:
        """Keep a claim's answer, unless the claim was taken over meanwhile."""
        self._if_ours(
            claim,
            lambda condition: self.client.update_item(
                Key=_key(claim.pk),
                UpdateExpression=(
                    "SET answer = :body, #status = :status, content_type = :type, "
                    "fingerprint = :fingerprint"
                ),
                ExpressionAttributeNames={"#status": "status"},
                **condition,
                ExpressionAttributeValues={
                    ":seen": {"S": claim.claim_id},
                    ":body": {"B": zlib.compress(answer.body)},
                    ":status": {"N": str(answer.status)},
                    ":type": {"S": answer.content_type},
                    ":fingerprint": {"S": answer.fingerprint},
                },
            ),
        )

    def abandon(self, claim: Claim) -> None:
        """Let the next request with this key take over at once, with the ids reserved here.

        For a request of which nobody knows what it did before it failed.
        """
        self._if_ours(
            claim,
            lambda condition: self.client.update_item(
                Key=_key(claim.pk),
                UpdateExpression="SET claimed_until = :over",
                ExpressionAttributeValues={
                    ":seen": {"S": claim.claim_id},
                    ":over": {"N": "0"},
                },
                **condition,
            ),
        )

    def release(self, claim: Claim) -> None:
        """Give a key back whose request was refused, unless it was taken over meanwhile."""
        self._if_ours(
            claim,
            lambda condition: self.client.delete_item(
                Key=_key(claim.pk),
                ExpressionAttributeValues={":seen": {"S": claim.claim_id}},
                **condition,
            ),
        )

    def _put(self, claim: Claim, *, at: datetime) -> Item | None:
        """None where the claim was stored; else what is there in its place."""
        kept_until = int((at + _KEPT).timestamp())
        item: Item = {
            **_key(claim.pk),
            "claim_id": {"S": claim.claim_id},
            "reserved": {"S": claim.reserved},
            "claimed_until": {"N": str((at + _CLAIMED).timestamp())},
            "kept_until": {"N": str(kept_until)},
            "ttl": {"N": str(kept_until)},
        }
        try:
            self.client.put_item(
                TableName=self.table,
                Item=item,
                ConditionExpression=_FREE,
                ExpressionAttributeValues={":now": {"N": str(int(at.timestamp()))}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            found: Any = exc.response.get("Item", {})
            return dict(found)
        return None

    def _taken_over(self, found: Item, claim: Claim, *, at: datetime) -> Claim:
        under_way = KeyReused(
            "a request with this Idempotency-Key is still under way", retry_after_s=_RETRY_S
        )
        if not found or float(found["claimed_until"]["N"]) > at.timestamp():
            raise under_way
        try:
            self.client.update_item(
                TableName=self.table,
                Key=_key(claim.pk),
                UpdateExpression="SET claim_id = :mine, claimed_until = :until",
                ConditionExpression=_SAME_CLAIM,
                ExpressionAttributeValues={
                    ":seen": found["claim_id"],
                    ":mine": {"S": claim.claim_id},
                    ":until": {"N": str((at + _CLAIMED).timestamp())},
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            there: Any = exc.response.get("Item", {})
            if not _is_ours(there, claim):
                raise under_way from exc
        return Claim(claim.pk, claim.claim_id, reserved=found["reserved"]["S"])

    def _if_ours(self, claim: Claim, write: Callable[[dict[str, Any]], object]) -> None:
        try:
            write({"TableName": self.table, "ConditionExpression": _SAME_CLAIM})
        except self.client.exceptions.ConditionalCheckFailedException:
            return


def _is_ours(found: Item, claim: Claim) -> bool:
    """Whether a claim met itself: botocore writes again where an answer was lost."""
    return bool(found.get("claim_id") == {"S": claim.claim_id})


def _kept(item: Item) -> Kept:
    return Kept(
        item["fingerprint"]["S"],
        status=int(item["status"]["N"]),
        content_type=item["content_type"]["S"],
        body=zlib.decompress(bytes(item["answer"]["B"])),
    )


def _key(pk: str) -> Item:
    return {"pk": {"S": pk}, "sk": {"S": "ONCE"}}

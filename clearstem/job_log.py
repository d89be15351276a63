"""Reading the log of a job: what happened to it, in order, from any place on.

`clearstem.job_table` writes it. A reader remembers the number of the last
event it saw and asks for what came after; numbers have no gaps, so it knows
that it missed nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from clearstem.errors import InvalidRequest
from clearstem.job_events import JobEvent
from clearstem.records import from_item
from clearstem.table_keys import event_sort, job_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LARGEST_NUMBER: Final = 9_999_999_999  # what a sort key has digits for
LISTABLE: Final = 100


@dataclass(frozen=True, slots=True)
class JobLog:
    """The table's logs."""

    client: "DynamoDBClient"
    table: str

    def after(self, number: int, *, job_id: str, limit: int = LISTABLE) -> tuple[JobEvent, ...]:
        """The events that came after the one of that number, oldest first.

        Parameters
        ----------
        number : int
            0 for the log from its beginning.
        limit : int
            1 to 100; where as many come, there may be more.

        Raises
        ------
        InvalidRequest
            The number or the limit is out of its range.
        """
        if not 1 <= limit <= LISTABLE:
            raise InvalidRequest(f"limit {limit} is outside 1 to {LISTABLE}")
        if not 0 <= number < LARGEST_NUMBER:
            raise InvalidRequest(f"event number {number} is outside 0 to {LARGEST_NUMBER - 1}")
        span: Any = {
            ":job": {"S": job_key(job_id)},
            ":next": {"S": event_sort(number + 1)},
            ":last": {"S": event_sort(LARGEST_NUMBER)},
        }
        answer = self.client.query(
            TableName=self.table,
            KeyConditionExpression="pk = :job AND sk BETWEEN :next AND :last",
            ExpressionAttributeValues=span,
            # Consistent: who saw the job's new state finds the event of it here.
            ConsistentRead=True,
            Limit=limit,
        )
        return tuple(from_item(item, JobEvent) for item in answer["Items"])

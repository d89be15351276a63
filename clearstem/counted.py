"""Which changes of jobs are in the metrics already.

A metric is a line of log, and nothing takes a line back: where a change may be
handed over twice, somebody has to remember that it was counted. Whoever counts
asks here first and counts if he is the first; dying between the two loses one
count, which is the lesser evil for alarms that look at rates.

Item: ``COUNTED#<job>#<attempt>#<state>`` / ``COUNTED``.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from clearstem.jobs import Job
from clearstem.table_keys import Partition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# The stream keeps a change for a day; nobody hands it over after that.
_KEPT: Final = timedelta(days=2)
# Nobody counted it before.
_NEW: Final = "attribute_not_exists(pk)"


@dataclass(frozen=True, slots=True)
class CountedTable:
    """The table's memory of what was counted."""

    client: "DynamoDBClient"
    table: str

    def claim(self, job: Job, *, at: datetime) -> bool:
        """Whether nobody counted yet that the job's attempt came to its state; now somebody did."""
        key = f"{Partition.COUNTED}{job.job_id}#{job.attempt}#{job.state.value}"
        expiry = int((at + _KEPT).timestamp())
        try:
            self.client.put_item(
                TableName=self.table,
                Item={"pk": {"S": key}, "sk": {"S": "COUNTED"}, "ttl": {"N": str(expiry)}},
                ConditionExpression=_NEW,
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

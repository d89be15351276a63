"""SQS in memory, as far as orders are put into it and come out when they are due."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from clearstem.records import loads
from clearstem.webhooks import Order, OrderQueue


@dataclass
class Clock:
    """A time that only the test moves."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class MemoryQueue:
    """Holds messages back for their delay, up to SQS's 900 s, and refuses a longer one.

    Attributes
    ----------
    groups : list of str
        Whose each message was, in the order they were sent in.
    """

    clock: Clock
    waiting: list[tuple[datetime, Order]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    @property
    def queue(self) -> OrderQueue:
        return OrderQueue(self, "memory")

    def send_message(
        self, *, QueueUrl: str, MessageBody: str, MessageGroupId: str, DelaySeconds: int
    ) -> dict[str, Any]:
        assert 0 <= DelaySeconds <= 900
        self.groups.append(MessageGroupId)
        visible = self.clock.at + timedelta(seconds=DelaySeconds)
        self.waiting.append((visible, loads(MessageBody, Order)))
        return {}

    def take(self) -> Order | None:
        """The next message, at the time it becomes visible; None where there is none."""
        if not self.waiting:
            return None
        self.waiting.sort(key=lambda entry: entry[0])
        visible, order = self.waiting.pop(0)
        self.clock.at = max(self.clock.at, visible)
        return order

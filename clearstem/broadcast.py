"""One change of a job, told to everyone who watches it.

Messages are snapshots of the job as it is when they are sent, never of the
change that caused them: deliveries of a stream may be repeated after later
ones, and a snapshot read afresh cannot be older than the one sent before it.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clearstem.connections import Connection, ConnectionTable
from clearstem.errors import JobNotFound
from clearstem.job_table import JobTable
from clearstem.jobs import Job

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

Render = Callable[[Job, int], str]
"""A job, and how many are ahead of it in its queue, as a text frame."""

# A connection is on record before its handshake is over, and API Gateway calls
# it gone until then: wait a little, twice, before it is taken for closed.
_HANDSHAKE_WAITS_S: Final = (0.2, 0.5)
# A frame is a request of some 10 ms: fifty watchers one by one would wait half a
# second, and all of them for one whose handshake is not over.
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Sends snapshots to WebSocket connections.

    Attributes
    ----------
    render : Mapping[str, Render]
        By dialect: a job as the text frame its clients expect.
    sleep : callable
        Waits for some seconds.
    """

    jobs: JobTable
    connections: ConnectionTable
    sockets: "ApiGatewayManagementApiClient"
    render: Mapping[str, Render]
    sleep: Callable[[float], None] = time.sleep

    def tell_watchers(self, job_id: str) -> int:
        """Send the job's state to all who watch it; answers how many were reached."""
        watchers = self.connections.watchers(job_id)
        if not watchers:
            return 0  # most changes: the job need not be read
        state = self._state(job_id)
        if state is None:
            return 0
        # All are reached before the next snapshot is read: nobody's frames change places.
        with ThreadPoolExecutor(min(_AT_ONCE, len(watchers))) as pool:
            return sum(pool.map(lambda connection: self._send(connection, *state), watchers))

    def greet(self, connection: Connection, *, job_id: str) -> bool:
        """Send a new watcher the job's state, and from then on its changes; if it was reached.

        Who tells of changes passes new watchers over: what changed while it was
        greeted is sent from here.
        """
        seen = self._state(job_id)
        if seen is None or not self._send(connection, *seen):
            return False
        self.connections.greet(connection.connection_id, job_id=job_id)
        while (now := self._state(job_id)) is not None and now != seen:
            if not self._send(connection, *now):
                break
            seen = now
        return True

    def _state(self, job_id: str) -> tuple[Job, int] | None:
        """The job as it is now, and how many are ahead of it; None where there is none."""
        try:
            job = self.jobs.get(job_id)
        except JobNotFound:
            return None
        return job, self.jobs.jobs_ahead(job)

    def say(self, connection_id: str, frame: str) -> bool:
        """Send a frame to one connection; whether it was reached.

        A connection that stays gone is forgotten with all it watched.
        """
        for wait_s in (*_HANDSHAKE_WAITS_S, None):
            try:
                self.sockets.post_to_connection(ConnectionId=connection_id, Data=frame.encode())
            except self.sockets.exceptions.GoneException:
                if wait_s is not None:
                    self.sleep(wait_s)
            else:
                return True
        self.connections.close(connection_id)
        return False

    def _send(self, connection: Connection, job: Job, ahead: int) -> bool:
        frame = self.render[connection.dialect](job, ahead)
        reached = self.say(connection.connection_id, frame)
        if reached and job.state.is_final and connection.job_id == job.job_id:
            # It was opened for this job alone, and there is nothing more to say.
            self._hang_up(connection)
        return reached

    def _hang_up(self, connection: Connection) -> None:
        try:
            self.sockets.delete_connection(ConnectionId=connection.connection_id)
        except self.sockets.exceptions.GoneException:
            self.connections.close(connection.connection_id)

"""One change of a job, told to everyone who watches it.

Messages are snapshots of the job as it is when they are sent, never of the
change that caused them: deliveries of a stream may be repeated after later
ones, and a snapshot read afresh cannot be older than the one sent before it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clearstem.connections import Connection, ConnectionTable
from clearstem.errors import JobNotFound
from clearstem.job_table import JobTable
from clearstem.jobs import Job

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

Render = Callable[[Job], str]


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Sends snapshots to WebSocket connections.

    Attributes
    ----------
    render : Mapping[str, Render]
        By dialect: a job as the text frame its clients expect.
    """

    jobs: JobTable
    connections: ConnectionTable
    sockets: "ApiGatewayManagementApiClient"
    render: Mapping[str, Render]

    def tell_watchers(self, job_id: str) -> int:
        """Send the job's state to all who watch it; answers how many were reached."""
        try:
            job = self.jobs.get(job_id)
        except JobNotFound:
            return 0
        watchers = self.connections.watchers(job_id)
        return sum(self._send(connection, job) for connection in watchers)

    def tell(self, connection: Connection, *, job_id: str) -> bool:
        """Send the job's state to one connection; whether it was reached."""
        try:
            return self._send(connection, self.jobs.get(job_id))
        except JobNotFound:
            return False

    def _send(self, connection: Connection, job: Job) -> bool:
        gone = self.sockets.exceptions.GoneException
        frame = self.render[connection.dialect](job).encode()
        try:
            self.sockets.post_to_connection(ConnectionId=connection.connection_id, Data=frame)
            if job.state.is_final and connection.job_id == job.job_id:
                # It was opened for this job alone, and there is nothing more to say.
                self.sockets.delete_connection(ConnectionId=connection.connection_id)
        except gone:
            self.connections.close(connection.connection_id)
            return False
        return True

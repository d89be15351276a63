"""Uploads that no job is made of: they end by their owner's wish, or after a week.

What counts for an owner's stored bytes must not be there when it counts no
more. A link that was given out takes its recording for an hour whatever
becomes of the upload, so one that its owner throws away counts for that long.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from clearstem.track_store import UPLOAD_LINK_S, TrackStore
from clearstem.uploads import Upload, UploadTable


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """Ends uploads that are no job's.

    Attributes
    ----------
    now : callable
        The time, in UTC.
    """

    uploads: UploadTable
    store: TrackStore
    now: Callable[[], datetime]

    def abandon(self, upload: Upload) -> None:
        """Throw an upload away; one that a job was made of stays, and so does its job.

        Of one in parts no link takes anything any more, so it is freed at once.
        """
        if upload.parts is not None:
            self.store.in_parts.abandon(upload.location, upload.parts)
            given_up = self.uploads.release(upload, at=self.now())
        else:
            until = self.now() + timedelta(seconds=UPLOAD_LINK_S)
            given_up = self.uploads.put_off(upload, until=until)
        if given_up:
            self._erase(upload)

    def sweep(self, *, in_time: Callable[[], bool] = lambda: True) -> Iterator[str]:
        """End the uploads whose time is over; yields their ids.

        Parameters
        ----------
        in_time : callable
            Whether another upload may be ended; the next turn goes on where this one ends.

        Raises
        ------
        ExceptionGroup
            At the end, of what went wrong: one that cannot be ended must not keep
            all others from it.
        """
        faults: list[Exception] = []
        for upload in self.uploads.due(before=self.now()):
            if not in_time():
                break
            try:
                # First, since a job may be made of it up to this moment, and keeps it then.
                ended = self.uploads.release(upload, at=self.now())
                if ended:
                    self._erase(upload)
            except Exception as exc:  # noqa: BLE001  # raised below, with all others
                faults.append(exc)
            else:
                if ended:
                    yield upload.upload_id
        if faults:
            raise ExceptionGroup(f"{len(faults)} uploads could not be ended", faults)

    def _erase(self, upload: Upload) -> None:
        # Parts that were never put together the bucket's rule has ended after a day.
        self.store.places.erase_at(upload.location)

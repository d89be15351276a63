"""All tracks of a job as one ZIP file, made while it is sent.

Stored, not compressed: audio does not shrink by it, and so the file's length
is known before its first byte. ZIP64 sets in where 4 GB are passed.
"""

import json
from collections.abc import Iterator

from zipstream.ng import ZIP_STORED, ZipStream

from clearstem.jobs import Job
from clearstem.track_store import TrackStore
from functions.dialects import pipeline


def archive(job: Job, *, store: TrackStore) -> tuple[int, Iterator[bytes]]:
    """The length of the archive in bytes, and its chunks.

    Objects are opened one after the other, when their turn comes.
    """
    stream = ZipStream(compress_type=ZIP_STORED, sized=True)
    for track in pipeline.finished_tracks(job):
        stream.add(
            store.chunks(track.location),
            arcname=f"{track.name}.{track.extension}",
            size=track.size_bytes,
        )
    manifest = json.dumps(pipeline.job_document(job), ensure_ascii=False, indent=2)
    stream.add(manifest + "\n", arcname="job.json")
    return len(stream), iter(stream)

"""The way in through a bucket: an object dropped under ``drop/OWNER/`` becomes a job.

Its metadata are the job's options; results, and the reason why there are none,
lie under ``done/`` beside each other.
"""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from clearstem import media
from clearstem.accounts import check_owner
from clearstem.errors import ClearstemError, InvalidRequest, JobExists
from clearstem.facts import Location
from clearstem.intake import Intake
from clearstem.jobs import Job
from clearstem.options import separate_options
from clearstem.recipes import SEPARATE
from clearstem.track_store import TrackStore

DROP_PREFIX: Final = "drop/"
DONE_PREFIX: Final = "done/"
# Object metadata with this prefix are options of the job: x-amz-meta-clearstem-format.
_OPTION_PREFIX: Final = "clearstem-"


def submit_drop(location: Location, *, event_id: str, intake: Intake) -> Job | None:
    """Make a job of a dropped object.

    Parameters
    ----------
    event_id : str
        What tells one creation of the object from another (S3's sequencer);
        a repeat of the event makes no second job. It starts the first one, where
        that could not be started.

    Returns
    -------
    Job or None
        None where the event is a mere repeat, and for the empty object by which
        S3's console makes a folder.

    Raises
    ------
    RequestError, EngineUnavailable
        The object is nothing to work on, or its options cannot be met;
        `reject_drop` tells its owner.
    """
    if location.key.endswith("/"):
        return None
    owner, name = _parts(location.key)
    job_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{location.bucket}/{location.key}#{event_id}"))
    options = separate_options(_options(location, store=intake.store))
    # Its results go to a bucket that whoever submits it may not read: its first stage looks
    # for a stored one.
    intake = replace(intake, answers=None)
    try:
        return intake.submit(
            job_id=job_id,
            owner=owner,
            source=intake.source_of(location, name=name, recipe=SEPARATE),
            destination=Location(location.bucket, f"{DONE_PREFIX}{owner}/{name}/{job_id}/"),
            options=options,
        )
    except JobExists:
        # Lambda calls again where the start failed; nobody else would ever start the job.
        return intake.start_again(job_id)


def reject_drop(location: Location, error: ClearstemError, *, store: TrackStore) -> None:
    """Say beside the results why a dropped object became no job."""
    beside = location.key.removeprefix(DROP_PREFIX)
    target = Location(location.bucket, f"{DONE_PREFIX}{beside}.error.txt")
    store.write_text(f"{error}\n", to=target, content_type="text/plain; charset=utf-8")


def _options(location: Location, *, store: TrackStore) -> Mapping[str, str]:
    metadata = store.stat(location).metadata
    return {
        name.removeprefix(_OPTION_PREFIX).replace("-", "_"): value
        for name, value in metadata.items()
        if name.startswith(_OPTION_PREFIX)
    }


def _parts(key: str) -> tuple[str, str]:
    parts = PurePosixPath(key).parts
    if len(parts) < 3 or parts[0] + "/" != DROP_PREFIX:
        raise InvalidRequest(f"{key} does not lie under {DROP_PREFIX}OWNER/")
    return check_owner(parts[1]), media.file_name(parts[-1])

"""What lies at a place in storage, replaced and deleted versions included, and its end.

Uploads and tracks are versioned: what somebody deletes by mistake is only covered
by a delete marker, and can be had back for a week. What is deleted because its
owner asked for it must not lie on under such a marker. In a bucket without
versions an object has the one version ``null``, and the same calls delete it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from clearstem.facts import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_AT_ONCE: Final = 1000  # DeleteObjects takes that many
# Somebody else, the bucket's rules or another removal, was faster.
_GONE: Final = "NoSuchVersion"


@dataclass(frozen=True, slots=True)
class Lying:
    """One key with all that is stored under it.

    Attributes
    ----------
    versions : tuple of str
        Ids of all its versions, delete markers among them.
    size_bytes : int
        Of all of them together.
    files : int
        Its versions that have content: 0 where only delete markers are left.
    """

    location: Location
    versions: tuple[str, ...] = ()
    size_bytes: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True)
class Places:
    """The buckets with their past; methods raise what botocore raises."""

    client: "S3Client"

    def at(self, location: Location) -> tuple[Lying, ...]:
        """What lies under just that key: one, or none."""
        return tuple(each for each in self.below(location) if each.location == location)

    def below(self, prefix: Location) -> tuple[Lying, ...]:
        """Whatever lies under keys that begin so, in their order."""
        found: dict[str, Lying] = {}
        for entry, size_bytes, files in self._versions(prefix):
            key = entry["Key"]
            known = found.get(key) or Lying(Location(prefix.bucket, key))
            found[key] = replace(
                known,
                versions=(*known.versions, entry["VersionId"]),
                size_bytes=known.size_bytes + size_bytes,
                files=known.files + files,
            )
        return tuple(found.values())

    def erase(self, found: Iterable[Lying]) -> None:
        """Delete all versions of what was found; what is gone already is no fault.

        Raises
        ------
        botocore.exceptions.ClientError
            Storage kept some of it: the answer to a deletion of many is a success
            whatever became of the single ones.
        """
        for bucket, versions in _by_bucket(found).items():
            for first in range(0, len(versions), _AT_ONCE):
                asked: Any = {"Objects": versions[first : first + _AT_ONCE], "Quiet": True}
                answer = self.client.delete_objects(Bucket=bucket, Delete=asked)
                _check(answer.get("Errors", ()))

    def erase_at(self, location: Location) -> None:
        """Delete all versions under just that key; raises what `erase` raises."""
        self.erase(self.at(location))

    def _versions(self, prefix: Location) -> Iterator[tuple[Any, int, int]]:
        pages = self.client.get_paginator("list_object_versions").paginate(
            Bucket=prefix.bucket, Prefix=prefix.key
        )
        for page in pages:
            yield from ((entry, entry["Size"], 1) for entry in page.get("Versions", ()))
            yield from ((entry, 0, 0) for entry in page.get("DeleteMarkers", ()))


def _check(errors: Iterable[Any]) -> None:
    for error in errors:
        if error["Code"] != _GONE:
            kept: Any = {"Error": {"Code": error["Code"], "Message": error.get("Message", "")}}
            raise ClientError(kept, "DeleteObjects")


def _by_bucket(found: Iterable[Lying]) -> dict[str, list[dict[str, str]]]:
    buckets: dict[str, list[dict[str, str]]] = {}
    for each in found:
        versions = buckets.setdefault(each.location.bucket, [])
        versions += [{"Key": each.location.key, "VersionId": id} for id in each.versions]
    return buckets

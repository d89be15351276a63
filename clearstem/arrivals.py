"""Room in storage for recordings: announced ones, and those that come with a request.

An upload is put where its ids say, bound to what is known of its size, and
counted for its owner's stored bytes before anybody gets a link to it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from clearstem import media
from clearstem.errors import ClearstemError, EmptyFile, TooLarge, UploadNotFound
from clearstem.facts import Location
from clearstem.part_uploads import SINGLE_PUT_BYTES, PartPlan
from clearstem.recipes import SEPARATE, Recipe
from clearstem.settings import Settings
from clearstem.track_store import ObjectWriter, PresignedUpload, TrackStore
from clearstem.uploads import Upload, UploadTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Takes recordings into storage, of which nothing is made yet.

    Attributes
    ----------
    now : callable
        The time, in UTC.
    new_id : callable
        A fresh UUID in text form.
    reserved_id : callable or None
        Ids that were reserved for what one request makes: one that is taken was
        taken by the same request before.
    """

    settings: Settings
    uploads: UploadTable
    store: TrackStore
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    reserved_id: Callable[[], str] | None = None

    def next_id(self) -> str:
        """One of the reserved ids, or a fresh one where none are."""
        return (self.reserved_id or self.new_id)()

    def announce(
        self,
        *,
        owner: str,
        file_name: str | None,
        recipe: Recipe = SEPARATE,
        size_bytes: int | None = None,
        largest_put: int | None = None,
    ) -> Upload:
        """Make room for one recording, of a kind that the recipe reads, once for a reserved id.

        Parameters
        ----------
        size_bytes : int or None
            Its size, which its owner's stored bytes count from now on. One that is not
            known counts as the largest that is taken, if those bytes are limited.
        largest_put : int or None
            What is larger comes in parts; None: `SINGLE_PUT_BYTES`.

        Raises
        ------
        MissingFile, UnsupportedFormat
            From the file name.
        EmptyFile, TooLarge
            From the size.
        StorageUsedUp
            Its owner may not store so much more.
        """
        upload = self._named(self.next_id(), owner, file_name, recipe=recipe)
        known = self._announced_before(upload)
        if known is not None:
            return known
        if size_bytes is not None:
            self.check_size(size_bytes, name=upload.file_name)
        held = self._largest(owner) if size_bytes is None else size_bytes
        limit = SINGLE_PUT_BYTES if largest_put is None else largest_put
        if size_bytes is not None and size_bytes > limit:
            # Asked before parts are begun; what is decided, the announcement decides.
            self.uploads.quotas.check_room(owner, held)
        plan = self._plan(upload, size_bytes=size_bytes or 0, largest_put=limit)
        upload = replace(upload, parts=plan, held_bytes=held)
        try:
            made = self.uploads.announce(upload, at=self.now())
        except ClearstemError:
            self._end(upload, plan)
            raise
        if made.parts != plan:
            self._end(upload, plan)
        return made

    def expect(self, *, owner: str, file_name: str | None, recipe: Recipe = SEPARATE) -> Upload:
        """A place for a recording that comes with this very request; nothing is remembered.

        Raises
        ------
        MissingFile, UnsupportedFormat
            From the file name.
        StorageUsedUp
            Its owner may store nothing more.
        """
        upload = self._named(self.new_id(), owner, file_name, recipe=recipe)
        self.uploads.quotas.check_room(owner)
        return upload

    def keep(self, upload: Upload) -> Upload:
        """Remember an upload that has come unannounced, for jobs to be made of it for a week.

        As it is remembered: what the same request stored before stays, and this one goes.

        Raises
        ------
        StorageUsedUp
            Its owner may not store so much more: it is not stored any longer.
        """
        if self.reserved_id is not None:
            # The place keeps its own id: what lies at another's may be at work already.
            upload = replace(upload, upload_id=self.reserved_id())
        try:
            kept = self.uploads.announce(upload, at=self.now())
        except ClearstemError:
            self.discard(upload)
            raise
        if kept.location != upload.location:
            self.discard(upload)
        return kept

    def writer(self, upload: Upload, *, max_bytes: int | None = None) -> ObjectWriter:
        """A writer of the upload's bytes, within the size limit (or a lower one)."""
        return self.store.writer(
            upload.location,
            content_type=media.content_type(upload.extension),
            max_bytes=self.settings.max_upload_bytes if max_bytes is None else max_bytes,
        )

    def presign(
        self, upload: Upload, *, size_bytes: int | None = None, sha256: str | None = None
    ) -> PresignedUpload:
        """Links by which the client sends the upload straight to storage.

        Parameters
        ----------
        size_bytes, sha256 : int or None, str or None
            What the PUT is signed for, as far as it is known; the hash in base64.
        """
        return self.store.presign_upload(
            upload.location,
            content_type=media.content_type(upload.extension),
            max_bytes=self.settings.max_upload_bytes,
            size_bytes=size_bytes,
            sha256=sha256,
        )

    def discard(self, upload: Upload) -> None:
        """Delete what has come of an upload, in all versions."""
        self.store.places.erase_at(upload.location)

    def check_size(self, size_bytes: int, *, name: str) -> None:
        """Raise `EmptyFile` or `TooLarge` where a recording of that size is not taken."""
        if size_bytes == 0:
            raise EmptyFile(f"{name} is empty (0 bytes)")
        if size_bytes > self.settings.max_upload_bytes:
            limit = self.settings.max_upload_bytes / media.MEBIBYTE
            raise TooLarge(
                f"{name} has {size_bytes} bytes; the limit is {limit:g} MB",
                facts={
                    "field": "size_bytes",
                    "value": size_bytes,
                    "accepted": {"minimum": 1, "maximum": self.settings.max_upload_bytes},
                },
            )

    def _plan(self, upload: Upload, *, size_bytes: int, largest_put: int) -> PartPlan | None:
        if size_bytes <= largest_put:
            return None
        kind = media.content_type(upload.extension)
        return self.store.in_parts.begin(upload.location, size_bytes=size_bytes, content_type=kind)

    def _end(self, upload: Upload, plan: PartPlan | None) -> None:
        if plan is not None:
            self.store.in_parts.abandon(upload.location, plan)

    def _announced_before(self, upload: Upload) -> Upload | None:
        if self.reserved_id is None:
            return None
        try:
            return self.uploads.get(upload.upload_id, owner=upload.owner)
        except UploadNotFound:
            return None

    def _named(
        self, upload_id: str, owner: str, file_name: str | None, *, recipe: Recipe
    ) -> Upload:
        name = media.file_name(file_name)
        extension = media.extension(name, accepted=recipe.inputs)
        key = f"uploads/{owner}/{upload_id}/source.{extension}"
        location = Location(self.settings.uploads_bucket, key)
        return Upload(upload_id, owner, name, extension, location)

    def _largest(self, owner: str) -> int:
        """What an upload of unknown size counts for: the largest, where it is asked for at all."""
        limited = self.uploads.quotas.of(owner).stored_bytes
        return self.settings.max_upload_bytes if limited else 0

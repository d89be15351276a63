"""The ways in: an upload, an announced upload, an address.

All end in one `Intake.submit`, which checks, records and starts a job; so do
objects dropped in a bucket (`clearstem.drops`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from clearstem import media
from clearstem.addresses import check_address, file_name_of
from clearstem.answering import Answers
from clearstem.arrivals import Arrivals
from clearstem.control import NOT_STARTED, JobControl
from clearstem.denoisers import engine_for
from clearstem.durations import stored_duration_s
from clearstem.errors import (
    ClearstemError,
    JobExists,
    TooLong,
    UrlRefused,
)
from clearstem.executions import Executions
from clearstem.facts import Location, Source
from clearstem.job_filter import JobFilter
from clearstem.job_table import JobTable
from clearstem.jobs import Job, JobState
from clearstem.options import DenoiseOptions, Options
from clearstem.queueing import queued_job
from clearstem.quotes import LOOKED_AT, Quote, quoted
from clearstem.recipes import Recipe
from clearstem.retention import RetentionTable
from clearstem.terms import NO_TERMS, Terms
from clearstem.uploads import Upload
from clearstem.webhook_endpoints import check_callback

# Lossy encoders pad: a recording of just the longest length has a header that says more.
_PADDING_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake(Arrivals):
    """Turns recordings into jobs; what it knows of uploads it has from `Arrivals`.

    Attributes
    ----------
    executions : Mapping[str, Executions]
        By the recipe's name.
    answers : Answers or None
        What answers jobs at once from stored results; None: their first stage does.
    """

    jobs: JobTable
    executions: Mapping[str, Executions]
    answers: Answers | None = None

    def submit_upload(
        self,
        upload: Upload,
        options: Options,
        *,
        output_url: str | None = None,
        callback_url: str | None = None,
        terms: Terms = NO_TERMS,
    ) -> Job:
        """Make a job of an upload whose bytes have come; the options say of which recipe.

        Raises
        ------
        UploadNotFound, EmptyFile, TooLarge, ContentMismatch
            There are no bytes, or not such as can be worked on.
        TooLong
            The header tells more than the options' `max_duration_s`; where it
            tells nothing, the first stage finds out.
        UrlRefused
            The result is to be put, or events are to be sent, to an address that
            is not called.
        EngineUnavailable
            From the choice of the engine.
        """
        self._check_address(output_url, named="output")
        self._check_callback(callback_url)
        job_id = self.next_id()
        return self.submit(
            job_id=job_id,
            owner=upload.owner,
            source=self._uploaded(upload, options),
            destination=Location(self.settings.tracks_bucket, f"jobs/{job_id}/"),
            options=options,
            output_url=output_url,
            callback_url=callback_url,
            terms=terms,
            upload=upload,
        )

    def submit_received(
        self,
        upload: Upload,
        options: Options,
        *,
        callback_url: str | None = None,
        terms: Terms = NO_TERMS,
    ) -> Job:
        """Make a job of a recording that came with this very request.

        Where there is none in the end, the recording is not stored any longer:
        nobody could name it, and nobody's stored bytes would count it.

        Raises
        ------
        ClearstemError
            As of `submit_upload`.
        """
        try:
            job = self.submit_upload(upload, options, callback_url=callback_url, terms=terms)
        except ClearstemError:
            self.discard(upload)
            raise
        if job.source.location != upload.location:
            self.discard(upload)  # the same request has made its job before
        return job

    def submit_url(
        self,
        url: str,
        options: Options,
        *,
        owner: str,
        output_url: str | None = None,
        callback_url: str | None = None,
        terms: Terms = NO_TERMS,
    ) -> Job:
        """Make a job of a recording that its first stage fetches from an address.

        Nothing is called here: what the address gives, and where its name leads,
        the stage finds out.

        Raises
        ------
        UrlRefused
            One of the addresses is plainly not one to be called; the message
            says which (``input``, ``output`` or ``callback_url``) and why.
        EngineUnavailable
            From the choice of the engine.
        """
        self._check_address(url, named="input")
        self._check_address(output_url, named="output")
        self._check_callback(callback_url)
        job_id = self.next_id()
        return self.submit(
            job_id=job_id,
            owner=owner,
            source=self._awaited(url, job_id=job_id, owner=owner, recipe=options.recipe),
            destination=Location(self.settings.tracks_bucket, f"jobs/{job_id}/"),
            options=options,
            output_url=output_url,
            callback_url=callback_url,
            terms=terms,
        )

    def submit(
        self,
        *,
        job_id: str,
        owner: str,
        source: Source,
        destination: Location,
        options: Options,
        output_url: str | None = None,
        callback_url: str | None = None,
        terms: Terms = NO_TERMS,
        upload: Upload | None = None,
    ) -> Job:
        """Record a job and start or answer it; the record comes first, so that none is lost.

        Parameters
        ----------
        upload : Upload or None
            What the source came as, if it was announced.

        Raises
        ------
        JobExists
            The id is taken, and was not reserved for this request; nothing is
            started anew.
        TooManyJobs, QuotaUsedUp
            Nor is it where the owner's quota is used up.
        """
        job = self._queued(job_id, owner, source, destination, options, output_url)
        job = replace(job, callback_url=callback_url)
        try:
            job = self._settled(terms, owner=owner).of(job, at=job.created_at)
            job = self.jobs.create(job, upload=upload)
        except JobExists:
            if self.reserved_id is None:
                raise
            # An earlier try of this request made it.
            return self.start_again(job_id) or self.jobs.get(job_id)
        answered = self.answers.at_once(job) if self.answers else None
        if answered is not None:
            return answered
        self._control.begin(job)
        return job

    def source_of(self, location: Location, *, name: str, recipe: Recipe) -> Source:
        """What is stored as a source of the recipe, if its size and first bytes are of one.

        Raises
        ------
        UploadNotFound, UnsupportedFormat, EmptyFile, TooLarge, ContentMismatch
            There is nothing, or not such as can be worked on.
        """
        extension = media.extension(name, accepted=recipe.inputs)
        stored = self.store.stat(location)
        self.check_size(stored.size_bytes, name=name)
        media.check_head(self.store.head(location), name=name, accepted=recipe.inputs)
        return Source(location, name, extension, stored.size_bytes, sha256=stored.sha256)

    def start_again(self, job_id: str) -> Job | None:
        """A job that was recorded and could not be started, started now; None for any other."""
        failure = self.jobs.get(job_id).failure
        if failure is None or failure.name != NOT_STARTED:
            return None
        return self._control.retry(job_id)

    @property
    def _control(self) -> JobControl:
        return JobControl(
            jobs=self.jobs, store=self.store, executions=self.executions, now=self.now
        )

    def quote(self, upload: Upload, options: Options) -> Quote:
        """What a job of an upload would take, and which limit it would not fit in; none is made.

        Raises
        ------
        RequestError, EngineUnavailable
            As `submit_upload` would, but for quotas: those change, so the quote tells them.
        """
        source = self._uploaded(upload, options)
        nowhere = Location(self.settings.tracks_bucket, "")
        job = self._queued(self.new_id(), upload.owner, source, nowhere, options, None)
        held = self.uploads.held(upload, at=job.created_at)
        over = JobFilter(frozenset({JobState.SUCCEEDED}), job.recipe_name)
        past = self.jobs.history(upload.owner, limit=LOOKED_AT, only=over).jobs
        return quoted(
            job,
            audio_s=source.duration_s or stored_duration_s(self.store, source.location),
            jobs_ahead=self.jobs.jobs_before_next(job.recipe_name, job.owner),
            past=past,
            cached=self.answers.find(job) if self.answers else None,
            refusal=self.jobs.quotas.refusal(job, freed_bytes=held.size_bytes),
        )

    def _check_callback(self, url: str | None) -> None:
        if url is not None:
            check_callback(url, settings=self.settings)

    def _queued(
        self,
        job_id: str,
        owner: str,
        source: Source,
        destination: Location,
        options: Options,
        output_url: str | None,
    ) -> Job:
        return queued_job(
            job_id=job_id,
            owner=owner,
            recipe=options.recipe,
            source=source,
            destination=destination,
            options=options,
            engine=engine_for(options, settings=self.settings),
            at=self.now(),
            download_token=self.new_id(),
            source_token=self.new_id(),
            output_url=output_url,
        )

    def _settled(self, terms: Terms, *, owner: str) -> Terms:
        """The terms with what the owner has settled where they say nothing."""
        if terms.kept_hours is not None:
            return terms
        retention = RetentionTable(self.jobs.client, self.jobs.table)
        return replace(terms, kept_hours=retention.owners_hours(owner))

    def _uploaded(self, upload: Upload, options: Options) -> Source:
        """The source that an upload is, with what is known of its content and length."""
        source = self.source_of(upload.location, name=upload.file_name, recipe=options.recipe)
        source = replace(source, sha256=source.sha256 or upload.sha256)
        return self._timed(source, options=options, owner=upload.owner)

    def _timed(self, source: Source, *, options: Options, owner: str) -> Source:
        """The source with what its header says it lasts, where its length matters."""
        limit_s = options.max_duration_s if isinstance(options, DenoiseOptions) else None
        if limit_s is None and not self.jobs.quotas.of(owner).minutes_per_month:
            return source
        duration_s = stored_duration_s(self.store, source.location)
        if duration_s and limit_s is not None and duration_s > limit_s + _PADDING_S:
            raise TooLong(duration_s=duration_s, limit_s=limit_s)
        return replace(source, duration_s=duration_s)

    def _check_address(self, url: str | None, *, named: str) -> None:
        if url is None:
            return
        try:
            check_address(url, allow_loopback=self.settings.url_allow_loopback)
        except UrlRefused as exc:
            raise UrlRefused(f"{named}: {exc}") from exc

    def _awaited(self, url: str, *, job_id: str, owner: str, recipe: Recipe) -> Source:
        """A source that is still to be fetched; often its address tells the format."""
        name = file_name_of(url)
        suffix = PurePosixPath(name).suffix.lower().removeprefix(".")
        extension = suffix if suffix in recipe.inputs else ""
        location = Location(self.settings.uploads_bucket, f"uploads/{owner}/{job_id}/source")
        return Source(location, file_name=name, extension=extension, size_bytes=0, url=url)

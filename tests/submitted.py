"""Jobs in the states that tests need, reached through the core's own transitions."""

import struct
from dataclasses import replace

from clearstem.facts import Failure, Location, StageResult, Track
from clearstem.jobs import Job
from clearstem.options import DenoiseOptions, SeparateOptions
from clearstem.recipes import CLEAN, DENOISE, SEPARATE, SEPARATION
from clearstem.result_cache import maker_of
from clearstem.service import Service


def wav(frames: int = 400) -> bytes:
    """A short, real WAV file."""
    data = struct.pack(f"<{frames}h", *(int(8000 * ((i % 40) / 20 - 1)) for i in range(frames)))
    fields = (b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    head = struct.pack("<4sI4s4sIHHIIHH", *fields)
    return head + b"data" + struct.pack("<I", len(data)) + data


def long_wav(duration_s: float) -> bytes:
    """A WAV file of silence, 8 bit at 2 kHz, that lasts so long."""
    data = bytes([128]) * int(2000 * duration_s)
    fields = (b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, 2000, 2000, 1, 8)
    head = struct.pack("<4sI4s4sIHHIIHH", *fields)
    return head + b"data" + struct.pack("<I", len(data)) + data


def uploaded(service: Service) -> str:
    """The id of a recording that waits for its job."""
    upload = service.intake.announce(owner="local", file_name="song.wav")
    with service.intake.writer(upload) as writer:
        writer.write(wav())
    return upload.upload_id


def submit(
    service: Service, *, owner: str = "local", file_name: str = "song.wav", job_id: str = ""
) -> Job:
    """A queued job of an uploaded file; with `job_id`, of just that id."""
    intake = service.intake
    upload = intake.announce(owner=owner, file_name=file_name)
    with intake.writer(upload) as writer:
        writer.write(wav())
    if not job_id:
        return intake.submit_upload(upload, SeparateOptions())
    ids = replace(intake, new_id=lambda: job_id)
    return ids.submit_upload(upload, SeparateOptions())


def submit_denoise(service: Service, *, owner: str, file_name: str = "talk.wav") -> Job:
    """A queued noise reduction of an uploaded file."""
    intake = service.intake
    upload = intake.announce(owner=owner, file_name=file_name, recipe=DENOISE)
    with intake.writer(upload) as writer:
        writer.write(wav())
    return intake.submit_upload(upload, DenoiseOptions())


def denoised(service: Service, job: Job, *, content: bytes = b"clean") -> Job:
    """The job with every stage of the noise reduction done and its result in storage."""
    made = _stored(service, job, CLEAN, content)
    for spec in DENOISE.stages:
        result = StageResult(
            tracks=(made,) if spec is DENOISE.stages[-1] else (),
            made_by=maker_of(spec, maker=service.jobs.maker),
        )
        at = service.now()
        job = service.jobs.change(
            job.job_id,
            lambda j, name=spec.name, result=result, at=at: j.start_stage(
                name, at=at
            ).complete_stage(name, result, at=at),
        )
    return job


def advance(service: Service, job: Job, *, fraction: float) -> Job:
    """The job with its first stage under way."""
    stage, at = SEPARATE.stages[0].name, service.now()
    return service.jobs.change(
        job.job_id,
        lambda j: j.start_stage(stage, at=at).advance(stage, fraction=fraction, at=at),
    )


def finish(service: Service, job: Job, *, tracks: dict[str, bytes] | None = None) -> Job:
    """The job with every stage done and its tracks in storage; or only the named ones there."""
    contents = tracks or {name: f"{name} ".encode() * 1000 for name in SEPARATE.tracks}
    made = tuple(_stored(service, job, name, data) for name, data in contents.items())
    for index, spec in enumerate(SEPARATE.stages):
        last = index == len(SEPARATE.stages) - 1
        by = maker_of(spec, maker=service.jobs.maker)
        result = StageResult(tracks=made if last else (), made_by=by)
        at = service.now()
        job = service.jobs.change(
            job.job_id,
            lambda j, name=spec.name, result=result, at=at: j.start_stage(
                name, at=at
            ).complete_stage(name, result, at=at),
        )
    return job


def failed(service: Service) -> Job:
    """A job that failed in the middle of its separation."""
    job, at = advance(service, submit(service), fraction=0.5), service.now()
    failure = Failure(SEPARATION, "Clearstem.NoAudio", "no frames")
    return service.jobs.change(job.job_id, lambda j: j.fail(failure, at=at))


def _stored(service: Service, job: Job, name: str, data: bytes) -> Track:
    location = Location(job.destination.bucket, f"{job.destination.key}{name}.wav")
    with service.store.writer(location, content_type="audio/wav", max_bytes=1 << 30) as writer:
        writer.write(data)
    return Track(
        name=name,
        location=location,
        extension="wav",
        frames=400,
        size_bytes=len(data),
        sha256=writer.sha256,
        true_peak_dbtp=-1.0,
        loudness_lufs=None,
    )

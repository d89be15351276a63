"""A job as it enters the queue, before anything was done for it."""

from datetime import datetime

from clearstem.facts import Engine, Location, Source
from clearstem.jobs import Job, JobState
from clearstem.options import Options
from clearstem.recipes import Recipe
from clearstem.stage_runs import StageRun


def queued_job(
    *,
    job_id: str,
    owner: str,
    recipe: Recipe,
    source: Source,
    destination: Location,
    options: Options,
    engine: Engine,
    at: datetime,
    download_token: str = "",
    source_token: str = "",
    output_url: str | None = None,
    callback_url: str | None = None,
) -> Job:
    """A job as it enters the queue: every stage pending, nothing done.

    Raises
    ------
    ValueError
        The options are another recipe's.
    """
    if options.recipe is not recipe:
        raise ValueError(f"options of {options.recipe.name} for a job of {recipe.name}")
    return Job(
        job_id=job_id,
        owner=owner,
        recipe_name=recipe.name,
        state=JobState.QUEUED,
        created_at=at,
        updated_at=at,
        source=source,
        destination=destination,
        options=options,
        engine=engine,
        stages=tuple(StageRun(name=spec.name) for spec in recipe.stages),
        download_token=download_token,
        source_token=source_token,
        output_url=output_url,
        callback_url=callback_url,
        counted=True,
    )

"""The ways for a recording into storage without a form: links, parts, a redirect."""

import base64
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from clearstem.errors import InvalidRequest, NotInParts, UploadNotFound
from clearstem.options import recipe_named
from clearstem.part_uploads import PartPlan
from clearstem.recipes import SEPARATE
from clearstem.uploads import Upload
from functions.dialects import pipeline
from functions.dialects import pipeline_documents as documents
from functions.routes import examples
from functions.routes.calls import CurrentCall
from functions.routes.sizes import announced_bytes

router: Final = APIRouter()

_JSON_BYTES: Final = 16 * 1024
# A link takes 700 bytes: a longer list would not pass API Gateway in base64.
_LINKS: Final = 100


class UploadRequest(BaseModel):
    """The name of a recording that is about to be sent to storage, and what is known of it."""

    model_config = ConfigDict(extra="forbid")

    file_name: str = Field(examples=["song.wav"])
    recipe: str = Field(
        default=SEPARATE.name, description="What it is for, `separate` or `denoise`"
    )
    size_bytes: int | None = Field(
        default=None, ge=0, examples=[44144], description="Binds the PUT to this very size"
    )
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-fA-F]{64}$",
        description="In hexadecimal; binds the PUT to this very content",
    )


@router.post(
    "/uploads",
    max_body_size=_JSON_BYTES,
    summary="Get links to send a large recording by",
    tags=["jobs"],
    response_model=documents.UploadDocument,
    responses={200: examples.answer(examples.UPLOAD), **examples.BAD_INPUT},
)
async def uploads(body: UploadRequest, call: CurrentCall) -> JSONResponse:
    """Make room in storage for one recording.

    Send the file by PUT with the given headers, or by a form POST with the
    given fields before the field `file`; then ask for the job at `POST /jobs`.
    With `size_bytes` above 100 MB the answer has `parts`: PUT each to its link,
    in any order and as often as it takes, and `POST /uploads/{upload_id}/complete`.
    """
    intake = call.service.intake
    upload = await call.blocking.call(
        intake.announce,
        owner=call.owner,
        file_name=body.file_name,
        size_bytes=body.size_bytes,
        recipe=recipe_named(body.recipe),
    )
    links = await call.blocking.call(
        intake.presign, upload, size_bytes=body.size_bytes, sha256=_base64(body.sha256)
    )
    parts = _parts(call, upload, upload.parts, stored=()) if upload.parts else None
    limit = call.service.settings.max_upload_bytes
    return JSONResponse(pipeline.upload_document(upload, links, parts=parts, max_bytes=limit))


@router.get(
    "/uploads/{upload_id}/parts",
    summary="Which parts of an upload have come, and links for the others",
    tags=["jobs"],
    response_model=documents.PartsDocument,
    responses={200: examples.answer(examples.PARTS), **examples.NO_PARTS},
)
async def parts(upload_id: str, call: CurrentCall) -> JSONResponse:
    """List what storage has; up to 100 of the missing parts come with fresh links."""
    upload, plan = await _in_parts(upload_id, call)
    found = await call.blocking.call(call.service.store.in_parts.stored, upload.location, plan)
    return JSONResponse(_parts(call, upload, plan, stored=[part.number for part in found]))


@router.post(
    "/uploads/{upload_id}/complete",
    summary="Make one recording of an upload's parts",
    tags=["jobs"],
    response_model=documents.StoredDocument,
    responses={200: examples.answer(examples.STORED), **examples.NO_PARTS},
)
async def complete(upload_id: str, call: CurrentCall) -> JSONResponse:
    """Put the parts together; repeated, it answers the same."""
    upload, plan = await _in_parts(upload_id, call)
    store = call.service.store
    try:
        await call.blocking.transfer(store.in_parts.complete, upload.location, plan)
    except UploadNotFound:
        # Completed before, if the object is there; else this says what is not.
        await call.blocking.call(store.stat, upload.location)
    stored: documents.StoredDocument = {"upload_id": upload_id, "size_bytes": plan.size_bytes}
    return JSONResponse(stored)


@router.delete(
    "/uploads/{upload_id}",
    status_code=204,
    summary="Throw away an upload of which no job was made",
    tags=["jobs"],
    responses={
        204: {"description": "Thrown away"},
        404: examples.problem(404, "no upload …", description="No such upload of this owner"),
    },
)
async def abandon(upload_id: str, call: CurrentCall) -> Response:
    """Free what has come; what a job works on stays.

    What does not come in parts counts for the stored bytes for an hour more: so long its
    link takes a recording.
    """
    upload = await call.blocking.call(call.service.uploads.get, upload_id, owner=call.owner)
    await call.blocking.call(call.service.unclaimed.abandon, upload)
    return Response(status_code=204)


@router.put(
    "/upload/{name}",
    status_code=307,
    summary="Send a recording by `curl -L -T song.wav`",
    tags=["jobs"],
    responses={
        307: {
            "description": "Send the body to `Location`; `x-upload-id` names the upload",
            "headers": {"x-upload-id": {"schema": {"type": "string"}}},
        },
        **examples.BAD_INPUT,
    },
)
async def send(
    request: Request,
    call: CurrentCall,
    name: Annotated[str, Path(examples=["song.wav"])],
) -> Response:
    """Lead a PUT on to storage, where its body goes; then ask for the job at `POST /jobs`.

    The link is for a body of just the announced length, from now on for an hour.
    Behind API Gateway the first request must pass, body and all, unless the client
    waits for leave to send it: what is larger than 4.5 MB takes `POST /uploads`.
    """
    size = announced_bytes(request)
    if size is None:
        raise InvalidRequest("a PUT needs a Content-Length: storage takes no chunked bodies")
    intake = call.service.intake
    upload = await call.blocking.call(
        intake.announce, owner=call.owner, file_name=name, size_bytes=size, largest_put=size
    )
    link = await call.blocking.call(
        call.service.store.presign_put, upload.location, size_bytes=size
    )
    return Response(status_code=307, headers={"Location": link, "x-upload-id": upload.upload_id})


async def _in_parts(upload_id: str, call: CurrentCall) -> tuple[Upload, PartPlan]:
    upload = await call.blocking.call(call.service.uploads.get, upload_id, owner=call.owner)
    if upload.parts is None:
        raise NotInParts(f"upload {upload_id} does not come in parts")
    return upload, upload.parts


def _parts(
    call: CurrentCall, upload: Upload, plan: PartPlan, *, stored: list[int] | tuple[()]
) -> documents.PartsDocument:
    have = set(stored)
    missing = [number for number in range(1, plan.count + 1) if number not in have]
    links = call.service.store.in_parts.links(upload.location, plan, missing[:_LINKS])
    return pipeline.parts_document(plan, stored=have, links=links)


def _base64(sha256: str | None) -> str | None:
    return base64.b64encode(bytes.fromhex(sha256)).decode() if sha256 else None

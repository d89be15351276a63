"""What each type of problem means, at the address that names it."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from clearstem.errors import NotFound
from functions.dialects import problems
from functions.routes import examples

router: Final = APIRouter()


class TypeDocument(TypedDict):
    """One type of problem."""

    type: str
    title: str
    status: int
    name: str
    meaning: str


_TRACK: Final[TypeDocument] = {
    "type": "/problems/track-not-found",
    "title": "Track not found",
    "status": 404,
    "name": "Clearstem.TrackNotFound",
    "meaning": "The job has no output of that name, or not yet.",
}


@router.get(
    "/problems/{slug}",
    summary="What a type of problem means",
    tags=["service"],
    response_model=TypeDocument,
    responses={
        200: examples.answer(_TRACK),
        404: examples.problem(404, "no type of problem …", description="No such type"),
    },
)
async def problem_type(slug: str) -> JSONResponse:
    """Tell what an error's `type` stands for; needs no key."""
    kind = problems.kinds().get(slug)
    if kind is None:
        raise NotFound(f"no type of problem is called {slug[:80]!r}")
    document: TypeDocument = {
        "type": problems.PREFIX + slug,
        "title": problems.title(kind),
        "status": kind.http_status,
        "name": f"Clearstem.{kind.__name__}",
        "meaning": problems.meaning(kind),
    }
    return JSONResponse(document)

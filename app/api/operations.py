"""What operators and load balancers ask: alive, ready, which version."""

from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from app.errors import UnavailableError

router = APIRouter(tags=["Operations"])


class Health(BaseModel):
    status: str = "ok"


class Readiness(BaseModel):
    """`schema_state` is `current`, `behind`, `ahead` or `empty`; null where it is unknown."""

    ready: bool
    database: str
    schema_state: str | None


class Version(BaseModel):
    name: str = "tracking"
    version: str


@router.get("/", include_in_schema=False)
async def root(request: Request) -> RedirectResponse:
    """The mlflow client prints links to pages below this one; there is an API and no pages."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


@router.get("/health", summary="Alive: the process answers")
async def health() -> Health:
    return Health()


@router.get(
    "/ready",
    summary="Ready: the database answers and its schema is the one this version needs",
    responses={503: {"model": Readiness, "description": "Not ready to serve"}},
)
async def ready(request: Request, response: Response) -> Readiness:
    try:
        state = await request.app.state.services.database.ready()
    except UnavailableError as error:
        response.status_code = 503
        return Readiness(ready=False, database=error.message, schema_state=None)
    if state != "current":
        response.status_code = 503
    return Readiness(ready=state == "current", database="reachable", schema_state=state)


@router.get("/version", summary="The version of this service")
async def get_version() -> Version:
    return Version(version=version("tracking"))

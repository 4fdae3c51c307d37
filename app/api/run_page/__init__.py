"""The page that the links of MLflow's clients open: `…/#/experiments/1/runs/abc` shows that run.

Its script reads MLflow's REST API, with the API key that the visitor enters. Page and policy are
the same for every request, so that nothing of a request reaches what a browser runs. Where MLflow's
own page is served, the script leads there.
"""

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

_FOLDER = Path(__file__).parent
_SCRIPT = (_FOLDER / "page.js").read_bytes()
_STYLE = (_FOLDER / "page.css").read_bytes()
_HTML = (_FOLDER / "page.html").read_text()

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REVALIDATED = {"Cache-Control": "no-cache"}


def mount(app: FastAPI, *, leads_to_mlflow: bool) -> None:
    """Add the page at `/`, its script and its style to the routes of `app`."""
    html = _HTML.replace("<html ", "<html data-mlflow-page ") if leads_to_mlflow else _HTML
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page(request: Request) -> Response:
        if not request.scope.get("raw_path", b"/").endswith(b"/"):
            # Below `/t/acme` without a slash, the page's relative URLs would lose the tenant.
            return RedirectResponse(f"{request.scope['root_path']}/", headers=_REVALIDATED)
        return HTMLResponse(html, headers=_REVALIDATED | {"Content-Security-Policy": _POLICY})

    @router.get("/run-page.js")
    async def script() -> Response:
        return Response(_SCRIPT, media_type="text/javascript", headers=_REVALIDATED)

    @router.get("/run-page.css")
    async def style() -> Response:
        return Response(_STYLE, media_type="text/css", headers=_REVALIDATED)

    app.include_router(router)

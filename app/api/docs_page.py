"""The documentation page of the workbench API: Swagger UI, served by this server alone.

Page, script and policy are the same for every request, so that nothing of a request reaches what a
browser runs. URLs are relative, so that the page also works below `/t/{tenant}`.
"""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

_router = APIRouter()

_SCRIPT = Path(__file__).with_name("docs.js").read_bytes()

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1.0">
<title>Experiment tracking</title>
<link rel="stylesheet" href="static-offline-docs/swagger-ui.css">
<link rel="icon" href="static-offline-docs/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="static-offline-docs/swagger-ui-bundle.js"></script>
<script src="docs.js"></script>
</body>
</html>
"""

# Swagger UI sets styles on its elements, and its style sheet holds its icons as data URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


def mount(app: FastAPI) -> None:
    """Add the page, its script, and Swagger UI's files to the routes of `app`."""
    files = StaticFiles(packages=[("fastapi_offline", "static")])
    app.mount("/static-offline-docs", files, name="static-offline-docs")
    app.include_router(_router)


@_router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@_router.get("/docs.js", include_in_schema=False)
async def docs_script() -> Response:
    return Response(_SCRIPT, media_type="text/javascript")

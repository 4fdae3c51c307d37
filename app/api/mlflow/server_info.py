"""MLflow's server info: the version that clients take this server for, and the features that they
may use.
"""

import msgspec

from app.api.mlflow.router import Call, Empty, Routes
from app.kernel.principal import Role

MLFLOW_VERSION = "3.17.2"
"""The version of MLflow that this server is compared with, and says it is: clients leave out what a
server of an older version cannot do."""

routes = Routes()


class ServerInfo(msgspec.Struct):
    """`store_type` is MLflow's name for a tracking store over a SQL database."""

    multipart_uploads_enabled: bool
    store_type: str = "SqlStore"
    workspaces_enabled: bool = True
    trace_archival_enabled: bool = False
    multipart_downloads_enabled: bool = True
    presigned_upload_run_id_supported: bool = True
    presigned_upload_model_id_supported: bool = True


class PageInfo(ServerInfo, kw_only=True):
    """What MLflow's page is told: the tenant of its URL or its key is all that there is, and there
    is no gateway, which it then leaves out of its menu."""

    features_enabled: dict[str, bool]


@routes.add("GET", "server-info", Empty, Role.READ, needs_tenant=False)
async def server_info(call: Call, message: Empty) -> ServerInfo:
    takes_parts = call.services.uploads.takes_parts
    if "mlflow_page" in call.scope:
        return PageInfo(takes_parts, workspaces_enabled=False, features_enabled={"gateway": False})
    return ServerInfo(takes_parts)

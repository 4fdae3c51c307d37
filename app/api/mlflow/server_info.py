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


@routes.add("GET", "server-info", Empty, Role.READ, needs_tenant=False)
async def server_info(call: Call, message: Empty) -> ServerInfo:
    return ServerInfo(
        multipart_uploads_enabled=call.services.uploads.takes_parts,
        # To MLflow's page, the tenant of its URL or its key is all that there is.
        workspaces_enabled="mlflow_page" not in call.scope,
    )

"""`export-all` and `import-all` of mlflow-export-import 1.2.0, with two repairs.

    python export_import.py export-all --output-dir FOLDER
    python export_import.py import-all --input-dir FOLDER

It takes the source of each model version for a path of this machine and wants a file there, and so
would import no version into any server with artifacts behind a proxy, MLflow's included. And
it cannot write a version's aliases, of which it never saw one: MLflow's search leaves them out.
"""

import json
import os
import sys
from functools import partial
from types import SimpleNamespace

from mlflow_export_import.bulk import export_all, import_models
from mlflow_export_import.common import io_utils
from mlflow_export_import.model import import_model

if __name__ == "__main__":
    import_model.os = SimpleNamespace(
        path=SimpleNamespace(join=os.path.join, exists=lambda _: True)
    )
    io_utils.json = SimpleNamespace(dumps=partial(json.dumps, default=list), loads=json.loads)
    command = {"export-all": export_all.main, "import-all": import_models.main}[sys.argv.pop(1)]
    command()

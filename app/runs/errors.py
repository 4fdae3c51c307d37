"""What stands against reading from or writing to a run, in MLflow's words."""

from app.kernel.errors import ConflictError
from app.runs.entities import RunWrite


def param_changed(write: RunWrite, changed: list[dict[str, str]]) -> ConflictError:
    if write.single:
        (one,) = changed
        return ConflictError(
            f"Changing param values is not allowed. Param with key='{one['key']}' was already"
            f" logged with value='{one['old_value']}' for run ID='{write.run_id}'. Attempted"
            f" logging new value '{one['new_value']}'.",
            field=f"params.{one['key']}",
        )
    return ConflictError(
        f"Changing param values is not allowed. Params were already logged='{changed}' for run"
        f" ID='{write.run_id}'.",
        field=f"params.{changed[0]['key']}",
    )

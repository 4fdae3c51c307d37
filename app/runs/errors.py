"""What stands against reading from or writing to a run, in MLflow's words."""

from app.kernel.errors import ConflictError, InvalidStateError, NotFoundError
from app.kernel.lifecycle import stage
from app.runs.entities import RunWrite


def run_absent(run_id: str) -> NotFoundError:
    return NotFoundError(f"Run with id={run_id} not found", field="run_id")


def run_not_active(run_id: str, deleted_time: int | None) -> InvalidStateError:
    return InvalidStateError(
        f"The run {run_id} must be in the 'active' state. Current state is {stage(deleted_time)}.",
        field="run_id",
    )


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

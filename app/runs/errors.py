"""Errors of writes to a run that MLflow has messages for."""

from app.kernel.errors import ConflictError
from app.runs.entities import LONG_VALUE_LENGTH, RunWrite


def param_changed(write: RunWrite, changed: list[dict[str, str]]) -> ConflictError:
    """The error for params that were logged with another value.

    `changed` has a dict for each of them, with `key`, `old_value` and `new_value`; the message of a
    batch shows the list as it is, with the beginnings of long values.
    """
    for param in changed:
        for name in ("old_value", "new_value"):
            if len(param[name]) > LONG_VALUE_LENGTH:
                param[name] = f"{param[name][:LONG_VALUE_LENGTH]}…"
    if write.is_single:
        (param,) = changed
        return ConflictError(
            f"Changing param values is not allowed. Param with key='{param['key']}' was already"
            f" logged with value='{param['old_value']}' for run ID='{write.run_id}'. Attempted"
            f" logging new value '{param['new_value']}'.",
            field=f"params.{param['key']}",
        )
    return ConflictError(
        f"Changing param values is not allowed. Params were already logged='{changed}' for run"
        f" ID='{write.run_id}'.",
        field=f"params.{changed[0]['key']}",
    )

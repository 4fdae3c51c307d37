"""pytest.raises, for environments without pytest."""

from collections.abc import Callable
from typing import Any

from mlflow.exceptions import MlflowException


def refusal(call: Callable[..., object], *arguments: Any) -> MlflowException:
    """How the server refuses this call; it is wrong if it doesn't."""
    try:
        call(*arguments)
    except MlflowException as error:
        return error
    raise AssertionError(f"{call.__name__}{arguments} was not refused")

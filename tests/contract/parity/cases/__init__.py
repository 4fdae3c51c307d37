"""The hand-picked cases, a file for each of MLflow's resources.

A file's `CASES` maps a sentence to the calls that a case makes, one after the other, on both
servers. Both are empty when a case begins.
"""

from tests.contract.parity.cases import (
    artifacts,
    experiments,
    graphql,
    inputs,
    logged_models,
    metrics,
    not_kept,
    other_clients,
    params_and_tags,
    protocol,
    registry,
    run_search,
    runs,
)
from tests.contract.parity.cases.calls import Case

FILES = (
    experiments,
    graphql,
    runs,
    params_and_tags,
    metrics,
    run_search,
    inputs,
    logged_models,
    artifacts,
    registry,
    protocol,
    other_clients,
    not_kept,
)

CASES: dict[str, Case] = {
    f"{file.__name__.rpartition('.')[2]}: {sentence}": calls
    for file in FILES
    for sentence, calls in file.CASES.items()
}

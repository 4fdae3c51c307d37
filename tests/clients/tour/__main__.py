"""A tour of an MLflow client, of whatever age, against the server in MLFLOW_TRACKING_URI.

    python tests/clients/tour

It needs no more than mlflow-skinny, numpy and pillow, and checks what it reads back: a difference
ends it with an AssertionError. A chapter that the client is too old for is left out. It prints as
JSON which client it is and which chapters it went through.
"""

import json

import artifacts
import mlflow
import registry
import tracking
from mlflow import MlflowClient

CHAPTERS = [
    tracking.experiments,
    tracking.nested_runs,
    tracking.special_numbers,
    tracking.batches,
    tracking.other_scripts,
    tracking.copies,
    tracking.deleted_runs,
    tracking.asynchronous,
    tracking.datasets,
    tracking.traced_function,
    artifacts.files,
    artifacts.texts,
    artifacts.percent_signs,
    artifacts.images,
    artifacts.unusual_paths,
    registry.registered_models,
    registry.model_versions,
    registry.stages,
    registry.aliases,
    registry.models_of_runs,
    registry.prompts,
]
# What MLflow 3 brought.
if hasattr(MlflowClient, "create_logged_model"):
    import models

    CHAPTERS += [models.logged_models, models.search, models.registration]


def tour() -> None:
    """Every chapter is in an experiment of its own."""
    client = MlflowClient()
    tracking.before_the_first_write(client)
    tracking.run_without_an_experiment(client)
    for chapter in CHAPTERS:
        experiment = mlflow.set_experiment(chapter.__name__)
        chapter(client, experiment.experiment_id)
    names = [chapter.__name__ for chapter in CHAPTERS]
    print(json.dumps({"version": mlflow.__version__, "chapters": names}))


if __name__ == "__main__":
    tour()

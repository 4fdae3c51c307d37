"""The tables that searches read, as SQLAlchemy Core knows them."""

from typing import cast

from sqlalchemy import Table

from app.db.tables.base import Base
from app.db.tables.experiments import Experiment, ExperimentTag
from app.db.tables.logged_models import (
    LoggedModel,
    LoggedModelMetric,
    LoggedModelParam,
    LoggedModelTag,
)
from app.db.tables.metrics import MetricSeries
from app.db.tables.registry import (
    ModelVersion,
    ModelVersionTag,
    RegisteredModel,
    RegisteredModelTag,
)
from app.db.tables.runs import Dataset, Input, InputTag, Param, Run, RunTag


def _table(model: type[Base]) -> Table:
    return cast(Table, model.__table__)


experiments = _table(Experiment)
experiment_tags = _table(ExperimentTag)
runs = _table(Run)
params = _table(Param)
run_tags = _table(RunTag)
metric_series = _table(MetricSeries)
datasets = _table(Dataset)
inputs = _table(Input)
input_tags = _table(InputTag)
logged_models = _table(LoggedModel)
logged_model_params = _table(LoggedModelParam)
logged_model_tags = _table(LoggedModelTag)
logged_model_metrics = _table(LoggedModelMetric)
registered_models = _table(RegisteredModel)
registered_model_tags = _table(RegisteredModelTag)
model_versions = _table(ModelVersion)
model_version_tags = _table(ModelVersionTag)

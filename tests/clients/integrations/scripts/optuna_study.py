"""A study with a run for each trial, below one of its own, and one that MLflow itself stores.

Prints what they came to, as JSON.
"""

import json

import mlflow
import optuna
from mlflow.optuna.storage import MlflowStorage

TRIALS = 8


def objective(trial: optuna.Trial) -> float:
    with mlflow.start_run(run_name=f"trial-{trial.number}", nested=True) as run:
        x = trial.suggest_float("x", -10, 10)
        kind = trial.suggest_categorical("kind", ["square", "absolute"])
        mlflow.log_params(trial.params)
        value = 0.0
        for step in range(3):
            value = x**2 if kind == "square" else abs(x) * (step + 1)
            mlflow.log_metric("value", value, step=step)
            trial.report(value, step)
        trial.set_user_attr("run_id", run.info.run_id)
        if trial.number % 4 == 3:
            raise optuna.TrialPruned
    return value


def nested() -> dict[str, object]:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    with mlflow.start_run(run_name="study") as parent:
        study.optimize(objective, n_trials=TRIALS)
        mlflow.log_params({f"best_{key}": value for key, value in study.best_params.items()})
        mlflow.log_metric("best", study.best_value)
    return {
        "run_id": parent.info.run_id,
        "trials": [
            {
                "run_id": trial.user_attrs["run_id"],
                "params": trial.params,
                "values": list(trial.intermediate_values.values()),
            }
            for trial in study.trials
        ],
    }


def stored() -> dict[str, object]:
    """The study is read back from its runs: what was stored is what there is."""
    experiment = mlflow.get_experiment_by_name("optuna")
    storage = MlflowStorage(experiment.experiment_id)
    sampler = optuna.samplers.TPESampler(seed=1)
    study = optuna.create_study(storage=storage, study_name="stored", sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=TRIALS)
    again = optuna.load_study(study_name="stored", storage=MlflowStorage(experiment.experiment_id))
    assert [trial.values for trial in again.trials] == [trial.values for trial in study.trials]
    return {
        "best_value": again.best_value,
        "trials": [{"params": trial.params, "value": trial.value} for trial in again.trials],
    }


def main() -> None:
    mlflow.set_experiment("optuna")
    print(json.dumps({"nested": nested(), "stored": stored()}))


if __name__ == "__main__":
    main()

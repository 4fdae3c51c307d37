"""A grid search by MLflow's autologging, with system metrics. Prints what it came to, as JSON."""

import json
import os

import mlflow
from mlflow import MlflowClient
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def main() -> None:
    os.environ["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "0.1"
    mlflow.set_experiment("sklearn")
    mlflow.sklearn.autolog()
    x, y = load_iris(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), SVC())
    search = GridSearchCV(model, {"svc__C": [0.1, 1, 10], "svc__kernel": ["linear", "rbf"]})
    with mlflow.start_run(log_system_metrics=True) as run:
        search.fit(x, y)
        # As long as a training of minutes: until there are metrics of the machine it ran on.
        while not measured(run.info.run_id):
            pass
    came_to = {
        "run_id": run.info.run_id,
        "best_params": search.best_params_,
        "best_score": search.best_score_,
        "scores": search.cv_results_["mean_test_score"].tolist(),
    }
    print(json.dumps(came_to))


def measured(run_id: str) -> bool:
    metrics = MlflowClient().get_run(run_id).data.metrics
    return any(key.startswith("system/") for key in metrics)


if __name__ == "__main__":
    main()

"""Boosted trees with early stopping, by MLflow's autologging. Prints what they came to, as JSON."""

import base64
import json

import mlflow
import xgboost
from sklearn.datasets import load_breast_cancer


def main() -> None:
    mlflow.set_experiment("xgboost")
    mlflow.xgboost.autolog(registered_model_name="boosted trees")
    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    training = xgboost.DMatrix(x[:400], y[:400])
    validation = xgboost.DMatrix(x[400:], y[400:])
    history: dict[str, dict[str, list[float]]] = {}
    with mlflow.start_run() as run:
        booster = xgboost.train(
            {"objective": "binary:logistic", "max_depth": 3, "eta": 0.5},
            training,
            num_boost_round=100,
            evals=[(validation, "validation")],
            early_stopping_rounds=3,
            evals_result=history,
            verbose_eval=False,
        )
    loaded = mlflow.xgboost.load_model("models:/boosted trees/1")
    assert (loaded.predict(validation) == booster.predict(validation)).all()
    came_to = {
        "run_id": run.info.run_id,
        "loss": history["validation"]["logloss"],
        "best_iteration": booster.best_iteration,
        "weights": booster.get_score(importance_type="weight"),
        "model": base64.b64encode(booster.save_raw("ubj")).decode(),
    }
    print(json.dumps(came_to))


if __name__ == "__main__":
    main()

"""Boosted trees with two measures, by MLflow's autologging. Prints what they came to, as JSON."""

import json

import lightgbm
import mlflow
from sklearn.datasets import load_breast_cancer


def main() -> None:
    mlflow.set_experiment("lightgbm")
    mlflow.lightgbm.autolog()
    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    training = lightgbm.Dataset(x[:400], y[:400])
    validation = lightgbm.Dataset(x[400:], y[400:], reference=training)
    history: dict[str, dict[str, list[float]]] = {}
    with mlflow.start_run() as run:
        booster = lightgbm.train(
            {"objective": "binary", "metric": ["binary_logloss", "auc"], "verbose": -1},
            training,
            num_boost_round=30,
            valid_sets=[validation],
            valid_names=["validation"],
            callbacks=[lightgbm.record_evaluation(history)],
        )
    (output,) = mlflow.get_run(run.info.run_id).outputs.model_outputs
    loaded = mlflow.lightgbm.load_model(f"models:/{output.model_id}")
    assert (loaded.predict(x[400:]) == booster.predict(x[400:])).all()
    came_to = {
        "run_id": run.info.run_id,
        "history": history["validation"],
        "splits": dict(
            zip(booster.feature_name(), booster.feature_importance().tolist(), strict=True)
        ),
        "model": booster.model_to_string(num_iteration=booster.best_iteration),
    }
    print(json.dumps(came_to))


if __name__ == "__main__":
    main()

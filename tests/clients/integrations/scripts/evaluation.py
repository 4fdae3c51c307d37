"""A logged model judged by mlflow.models.evaluate, and answers judged by a metric of the user's.

Prints what they came to, as JSON.
"""

import json

import mlflow
import pandas as pd
from mlflow.metrics import MetricValue
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression


def classifier() -> dict[str, object]:
    x, numbers = load_breast_cancer(return_X_y=True, as_frame=True)
    y = numbers.map({0: "malignant", 1: "benign"}).astype(object)
    model = LogisticRegression(max_iter=5000).fit(x[:400], y[:400])
    with mlflow.start_run(run_name="classifier") as run:
        info = mlflow.sklearn.log_model(model, name="leaves")
        result = mlflow.models.evaluate(
            info.model_uri,
            x[400:].assign(label=y[400:]),
            targets="label",
            model_type="classifier",
            evaluators=["default"],
            evaluator_config={
                "default": {"log_model_explainability": False, "pos_label": "malignant"}
            },
        )
    return {
        "run_id": run.info.run_id,
        "model_id": info.model_id,
        "metrics": result.metrics,
        "artifacts": list(result.artifacts),
        "score": model.score(x[400:], y[400:]),
    }


def length_difference(predictions: pd.Series, targets: pd.Series) -> MetricValue:
    scores = [abs(len(a) - len(b)) for a, b in zip(predictions, targets, strict=True)]
    return MetricValue(scores=scores, aggregate_results={"mean": sum(scores) / len(scores)})


def answers() -> dict[str, object]:
    table = pd.DataFrame(
        {
            "question": ["How many?", "Où ?", "什么？"],
            "answer": ["Three", "Là-bas", "数据"],
            "expected": ["Three", "Ici", "没有数据"],
        }
    )
    metric = mlflow.models.make_metric(
        eval_fn=length_difference, greater_is_better=False, name="length_difference"
    )
    with mlflow.start_run(run_name="answers") as run:
        result = mlflow.models.evaluate(
            data=table, predictions="answer", targets="expected", extra_metrics=[metric]
        )
    return {
        "run_id": run.info.run_id,
        "metrics": result.metrics,
        "table": result.tables["eval_results_table"].to_dict("split"),
    }


def main() -> None:
    mlflow.set_experiment("evaluation")
    print(json.dumps({"classifier": classifier(), "answers": answers()}, default=float))


if __name__ == "__main__":
    main()

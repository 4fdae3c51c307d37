"""A training with all of MLflow's tracing and autologging on. Prints what it came to, as JSON."""

import json

import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


@mlflow.trace
def train(strength: float) -> float:
    x, y = load_iris(return_X_y=True, as_frame=True)
    with mlflow.start_span("fit") as span:
        span.set_inputs({"strength": strength})
        model = LogisticRegression(max_iter=200, C=strength).fit(x, y)
    mlflow.update_current_trace(tags={"strength": str(strength)})
    # Once the trace is done, MLflow links it to the prompt.
    assert mlflow.genai.load_prompt("prompts:/greeting/1").format(name="Ann") == "Hi Ann"
    return model.score(x, y)


def main() -> None:
    mlflow.set_experiment("traced")
    # Not after the prompt: MLflow 3.17 links that to the experiment in a thread, whose imports and
    # autologging's may wait for each other for ever.
    mlflow.autolog()
    mlflow.genai.register_prompt(name="greeting", template="Hi {{name}}")
    with mlflow.start_run() as run:
        score = train(0.5)
    print(json.dumps({"run_id": run.info.run_id, "score": score}))


if __name__ == "__main__":
    main()

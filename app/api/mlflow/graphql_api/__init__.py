"""MLflow's GraphQL API, over the handlers of its REST API.

A query is parsed and checked by graphql-core. Its executor is not used: it completes one value
after the other without a pause, for seconds where a run has many metrics. `projection` does the
same for this schema, in which every answer is a part of a REST message.
"""

from app.api.mlflow.graphql_api.route import routes

__all__ = ["routes"]

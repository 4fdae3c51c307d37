"""The differences between MLflow's server and ours that are meant, each with its reason.

A difference that is not listed here fails the tests, and so does one that is listed and no longer
met by any case.
"""

from tests.contract.parity.difference import (
    ANY,
    REFUSED,
    Difference,
    answers,
    everywhere,
    page_as_error,
)
from tests.contract.parity.rewrites import (
    cut_as_there,
    in_our_folders,
    nan_last,
    opaque,
    unbounded,
    without,
    without_aliases,
    without_legacy_description,
    without_negative_zero,
    without_place,
    without_sql,
    without_tenant_tag,
)

DIFFERENCES: tuple[Difference, ...] = (
    everywhere(
        "the tenant's tag",
        "Every experiment and run shows the tag matih.tenant_id, which users of the workbench"
        " filter by. What is written to it is ignored. TRACKING_TENANT_TAG=false hides it.",
        theirs=without_tenant_tag,
        ours=without_tenant_tag,
    ),
    everywhere(
        "the workspace of an experiment",
        "A workspace is a tenant, so an experiment shows its tenant instead of `default`.",
        calls=r"(GET|POST) .*experiments/(get|get-by-name|search)",
        theirs=without("workspace"),
        ours=without("workspace"),
    ),
    everywhere(
        "artifact folders",
        "Artifacts lie under experiments/{id}/runs/{run}/artifacts instead of {id}/{run}/artifacts,"
        " so that a bucket can be read by people.",
        theirs=in_our_folders,
    ),
    everywhere(
        "page tokens",
        "A token says where a page ended instead of how many rows to skip, so that what is logged"
        " meanwhile shifts nothing. It is opaque in both.",
        theirs=opaque,
        ours=opaque,
    ),
    everywhere(
        "classes of errors",
        "MLflow 3.17 adds `sqlstate` and `error_class` to an error. Its client fills them in from"
        " the error code where they are absent.",
        theirs=without("sqlstate", "error_class"),
    ),
    everywhere(
        "infinities",
        "MLflow stores an infinite metric as the greatest finite number. We keep what was logged.",
        theirs=unbounded,
    ),
    everywhere(
        "SQL in messages",
        "MLflow repeats the database's error, with its statement and its values.",
        theirs=without_sql,
    ),
    everywhere(
        "the place of a mistake",
        "A refused filter or order is shown with a mark under the place.",
        calls=r"(GET|POST) .*/search",
        ours=without_place,
    ),
    answers(
        "words for a filter that cannot be parsed",
        "MLflow's parser has several words for what it does not understand. We say what we expect.",
        calls=r"(GET|POST) .*/search",
        theirs=(400, REFUSED, r"Invalid (clause|comparison|comparator|filter string|order_by).*"),
        ours=(400, REFUSED, r"Invalid (clause|comparison|comparator|filter string|order_by).*"),
    ),
    answers(
        "a forged page token",
        "The words differ, since the tokens do.",
        calls=r".*",
        theirs=(400, REFUSED, r"Invalid page token.*"),
        ours=(400, REFUSED, r"Invalid page token: .*"),
    ),
    answers(
        "a name that is taken, in a rename",
        "MLflow answers BAD_REQUEST with the database's error.",
        calls=r"POST experiments/update",
        theirs=(400, "BAD_REQUEST", r"\(sqlite3\.IntegrityError\).*"),
        ours=(400, "RESOURCE_ALREADY_EXISTS", r"Experiment\(name=.*\) already exists\."),
    ),
    answers(
        "renaming an archived experiment",
        "MLflow answers 500, which its client retries for minutes.",
        calls=r"POST experiments/update",
        theirs=(500, "INVALID_STATE", r"Cannot rename a non-active experiment\."),
        ours=(400, REFUSED, r"Cannot rename a non-active experiment\."),
    ),
    answers(
        "a run without an experiment",
        "MLflow fails in its database. We take experiment 0, as MLflow's client does.",
        calls=r"POST runs/create",
        theirs=(400, "BAD_REQUEST", r".*FOREIGN KEY constraint failed.*"),
        ours=(200, None, ANY),
    ),
    answers(
        "a tag twice in a new experiment or run",
        "MLflow fails in its database. The last value counts, as in a batch.",
        calls=r"POST (experiments|runs)/create",
        theirs=(400, "RESOURCE_ALREADY_EXISTS|BAD_REQUEST", ANY),
        ours=(200, None, ANY),
    ),
    answers(
        "values that MLflow drops",
        "From the first value that it cannot parse on, MLflow leaves out the rest of a message, and"
        " answers as if it had not been sent. We refuse it, and name the field.",
        calls=ANY,
        theirs=(200, None, ANY),
        ours=(
            400,
            REFUSED,
            r"Invalid value .* for parameter '.*' supplied: .*(Hint: Value was of"
            r" type|it must be one of|it must be an integer between|must be a nonneg).*",
        ),
    ),
    answers(
        "words for a value that cannot be parsed",
        "Where both refuse it, we name the field and the value.",
        calls=ANY,
        theirs=(400, REFUSED, r"(Invalid|Missing) value .*"),
        ours=(
            400,
            REFUSED,
            r"Invalid value .* for parameter '.*' supplied(: .*(Hint: Value was of"
            r" type|it must be one of|it must be an integer between).*|\. It must be at most .*)",
        ),
    ),
    answers(
        "failures of MLflow's server",
        "What makes MLflow's server fail is refused with words.",
        calls=ANY,
        theirs=(500, ANY, ANY),
        ours=(400, REFUSED, ANY),
    ),
    answers(
        "null lists and numbers",
        "MLflow's server fails for a null where it checks a list or a number. Null is as good as"
        " absent, everywhere.",
        calls=r"POST runs/(log-batch|search|log-inputs)|POST experiments/search",
        theirs=(500, ANY, ANY),
        ours=(200, None, ANY),
    ),
    answers(
        "bodies that are no JSON",
        "MLflow takes them for empty ones.",
        calls=ANY,
        theirs=(400, REFUSED, r"(Missing|Invalid) value .*"),
        ours=(400, REFUSED, r"The request body is not valid JSON: .*"),
    ),
    answers(
        "a bare NaN",
        "Python's encoder writes NaN, which is no JSON; MLflow takes it for 0.",
        calls=r"POST runs/log-(batch|metric)",
        theirs=(404, "RESOURCE_DOES_NOT_EXIST", ANY),
        ours=(400, REFUSED, r"Invalid value NaN .* JSON has no such number.*"),
    ),
    answers(
        "characters that cannot be stored",
        "Postgres stores no NUL, and half of a surrogate pair is no text; MLflow takes one for an"
        " empty text.",
        calls=ANY,
        theirs=(ANY, f"({REFUSED})?", r"{.*|Invalid experiment name: ''"),
        ours=(400, REFUSED, r".*holds a NUL character or half of a surrogate pair.*"),
    ),
    everywhere(
        "long values",
        "MLflow cuts params of runs at 6,000 characters, and tags at 8,000. We keep up to 65,536"
        " (TRACKING_MAX_VALUE_LENGTH) before we cut.",
        calls=r"GET runs/get|POST runs/search",
        ours=cut_as_there,
    ),
    answers(
        "batches over a megabyte",
        "MLflow's limit counts the fields of the message instead of its bytes. We keep to what it"
        " documents, and count no escapes.",
        calls=r"POST runs/log-batch",
        theirs=(200, None, ANY),
        ours=(400, REFUSED, r"Batched logging API requests must be at most 1000000 bytes.*"),
    ),
    answers(
        "tags of a new run",
        "MLflow does not check them. We do, as when they are set later.",
        calls=r"POST runs/create",
        theirs=(200, None, ANY),
        ours=(
            400,
            REFUSED,
            r"(Missing value for required|Invalid value .* for) parameter 'tags.key'"
            r".*|'tags.key' exceeds .*",
        ),
    ),
    answers(
        "an empty key of a tag",
        "MLflow stores a model's, and calls an experiment's a path. A key is required.",
        calls=r"POST experiments/create|PATCH logged-models/.*/tags",
        theirs=(ANY, ANY, r"{}|.*This name would resolve to '\.'"),
        ours=(400, REFUSED, r"Missing value for required parameter .*|.*A key name must be.*"),
    ),
    everywhere(
        "negative zero",
        "SQLite has none. We keep what was logged.",
        ours=without_negative_zero,
    ),
    everywhere(
        "NaN in a history",
        "MLflow stores it as 0, and so puts it among the numbers of the same time and step. Ours"
        " comes after them.",
        calls=r"GET metrics/get-history",
        theirs=nan_last,
    ),
    answers(
        "metrics of unknown models",
        "MLflow logs them, or fails in its database. We say that there is no such model.",
        calls=r"POST runs/log-(metric|batch)",
        theirs=(ANY, ANY, ANY),
        ours=(404, "RESOURCE_DOES_NOT_EXIST", r"Logged model with ID .* not found\."),
    ),
    answers(
        "parts of a dataset",
        "MLflow's message marks them as required, but its server does not check.",
        calls=r"POST runs/log-inputs",
        theirs=(200, None, ANY),
        ours=(400, REFUSED, r"Missing value for required parameter 'datasets\[0\]\.dataset.*"),
    ),
    answers(
        "lengths that MLflow leaves to its database",
        "SQLite checks none of them, and other databases fail. We refuse what is longer.",
        calls=r"POST (registered-models|logged-models|model-versions)(/create)?"
        r"|PATCH (registered-models|model-versions)/update|PATCH logged-models/.*/tags",
        theirs=(200, None, ANY),
        ours=(400, REFUSED, r"'.*' exceeds the maximum length of \d+ characters"),
    ),
    answers(
        "a line break at the end of a key",
        "MLflow's pattern lets it pass. It is none of the characters that keys may have.",
        calls=r"POST runs/(set-tag|log-batch|log-parameter|log-metric)",
        theirs=(200, None, ANY),
        ours=(400, REFUSED, r"Invalid value .*\\n.* Names may only contain .*"),
    ),
    answers(
        "page sizes below 1",
        "MLflow answers with an empty page and a token of the next one, or with all but the last.",
        calls=r"(POST logged|GET registered)-models/search|GET .*/metrics/get-history-bulk",
        theirs=(200, None, ANY),
        ours=(400, REFUSED, r".*max_results.*"),
    ),
    answers(
        "words for a search of the registry",
        "MLflow does not name all that it takes for an order, and has two ways to refuse a page's"
        " size.",
        calls=r"GET (registered-models|model-versions)/search",
        theirs=(400, REFUSED, r"Invalid order by key .*|Invalid value for max_results\..*"),
        ours=(
            400,
            REFUSED,
            r"Invalid order by key .*|Invalid value 0 for parameter 'max_results'.*",
        ),
    ),
    everywhere(
        "aliases of versions",
        "MLflow leaves them out of searches and of a model's latest versions, where they are read"
        " as none (issue 9783 of MLflow). mlflow-export-import 1.2.0 cannot write them: it exports"
        " no model of which a version has one.",
        calls=r"(GET|POST|PATCH) (model-versions/search|registered-models/.*)",
        theirs=without_aliases,
        ours=without_aliases,
    ),
    answers(
        "words for a refused source of a version",
        "MLflow names its own settings, and a use of local paths that we don't have.",
        calls=r"POST model-versions/create",
        theirs=(400, REFUSED, r"Invalid model version source: .*|'source' cannot use the .*"),
        ours=(400, REFUSED, r"Invalid model version source: .*|'source' cannot use the .*"),
    ),
    answers(
        "models by a dataset without a digest",
        "The digest is optional. MLflow's server looks for metrics without one, and finds none.",
        calls=r"POST logged-models/search",
        theirs=(200, None, r"{}"),
        ours=(200, None, r".*\"dataset_name\".*"),
    ),
    answers(
        "a model's id in its path",
        "MLflow wants it in the body, too.",
        calls=r"PATCH logged-models/[^/]*|POST logged-models/[^/]*/params",
        theirs=(400, REFUSED, r"Missing value for required parameter 'model_id'.*"),
        ours=(200, None, ANY),
    ),
    answers(
        "a param that a model has",
        "MLflow fails in its database. The same value is passed over, and another one is refused,"
        " as for runs.",
        calls=r"POST logged-models/[^/]*/params",
        theirs=(400, "BAD_REQUEST", r".*UNIQUE constraint failed: logged_model_params.*"),
        ours=(ANY, ANY, r"{}|Changing param values is not allowed\..*"),
    ),
    answers(
        "words for a refused path",
        "Ours say what is wrong with it.",
        calls=r"(GET|POST) artifacts/.*|GET .*logged-models/.*|\w+ .*mlflow-artifacts/.*"
        r"|GET .*get-artifact|POST .*upload-artifact",
        theirs=(400, REFUSED, r"Invalid path"),
        ours=(400, REFUSED, r"Invalid path: .*"),
    ),
    answers(
        "paths that are others on Windows",
        "A path with a backslash or a drive would be another one where artifacts are in a folder of"
        " Windows, or are downloaded to one.",
        calls=r"GET artifacts/list|(GET|PUT|DELETE) .*mlflow-artifacts/artifacts/.*",
        theirs=(ANY, ANY, r"{.*}||No such artifact: .*"),
        ours=(400, REFUSED, r"Invalid path: .*(backslash|it is not relative)"),
    ),
    answers(
        "the answer to an upload",
        "MLflow's is empty, ours an empty message. The client reads neither.",
        calls=r"PUT .*mlflow-artifacts/artifacts/.*",
        theirs=(200, None, r""),
        ours=(200, None, r"{}"),
    ),
    answers(
        "uploads in parts, and presigned downloads",
        "MLflow's server has them for cloud storage only; this one has them for a folder, too.",
        calls=r"(POST .*mlflow-artifacts/mpu/.*|GET .*mlflow-artifacts/presigned/.*)",
        theirs=(501, "NOT_IMPLEMENTED", r"Multipart (up|down)load is not supported .*"),
        ours=(200, None, ANY),
    ),
    answers(
        "presigned URLs of what lies behind the proxy",
        "MLflow has them for locations that clients reach; here they lead to this server, or to the"
        " store where clients reach that.",
        calls=r"POST artifacts/presigned-(up|down)load-url",
        theirs=(400, REFUSED, r"Presigned (up|down)load is not supported for .*proxied.*"),
        ours=(200, None, ANY),
    ),
    answers(
        "downloading a folder",
        "The same refusal, with the path in our folders. That of MLflow's proxy has no error code.",
        calls=r"GET .*(mlflow-artifacts/artifacts/.*|get-artifact|artifacts/files)",
        theirs=(400, ANY, r".*refers to a directory, not a file.*"),
        ours=(400, REFUSED, r".*refers to a directory, not a file.*"),
    ),
    everywhere(
        "the description of the default workspace",
        "It has one of MLflow's own, of its older versions.",
        calls=r"GET .*workspaces(/[^/]*)?",
        theirs=without_legacy_description,
    ),
    answers(
        "words for a refused name of a workspace",
        "Ours say all that is asked of a name.",
        calls=r"\w+ .*workspaces(/[^/]*)?",
        theirs=(400, REFUSED, r"Workspace name .*|Missing value .*'name'.*"),
        ours=(400, REFUSED, r"Workspace name '.*' must be 1 to 48 characters.*"),
    ),
    answers(
        "the longest name of a workspace",
        "MLflow allows 63 characters. With the prefix of a bucket, 48 make a legal bucket's name.",
        calls=r"POST .*workspaces",
        theirs=(201, None, ANY),
        ours=(400, REFUSED, r"Workspace name '.*' must be 1 to 48 characters.*"),
    ),
    answers(
        "workspaces that MLflow's names do not allow",
        "A tenant's name may have one character. None is reserved: no path of ours begins with it.",
        calls=r"\w+ .*workspaces(/[^/]*)?",
        theirs=(
            400,
            REFUSED,
            r".* must be between 2 and 63 .*|.* is reserved and cannot be used\.",
        ),
        ours=(ANY, None, ANY),
    ),
    answers(
        "words for a description that is null",
        "Null is as good as absent, and there must be something to update.",
        calls=r"PATCH .*workspaces/[^/]*",
        theirs=(400, REFUSED, r"Invalid value null for parameter 'description' .*"),
        ours=(400, REFUSED, r"Workspace update must have at least one key"),
    ),
    answers(
        "workspaces that are not there yet",
        "A tenant comes into being with its first write, and has its experiment 0 before.",
        calls=r"POST .*experiments/search",
        theirs=(404, "RESOURCE_DOES_NOT_EXIST", r"Workspace '.*' not found"),
        ours=(200, None, r".*\"Default\".*"),
    ),
    answers(
        "a workspace's artifact root",
        "Artifacts of a tenant lie in its own bucket or folder, which keeps tenants apart.",
        calls=r"(POST|PATCH) .*workspaces(/[^/]*)?",
        theirs=(ANY, None, r".*default_artifact_root.*"),
        ours=(400, REFUSED, r".*'default_artifact_root' cannot be set"),
    ),
    answers(
        "a workspace that holds something",
        "MLflow answers 500, which its client retries for minutes. Our number counts a tenant's own"
        " experiment 0, too.",
        calls=r"DELETE .*workspaces/[^/]*",
        theirs=(500, "INVALID_STATE", r"Cannot delete workspace .* still contains \d+ resource.*"),
        ours=(409, "INVALID_STATE", r"Cannot delete workspace .* still contains \d+ resource.*"),
    ),
    answers(
        "SET_DEFAULT",
        "What one tenant logged is not handed to another.",
        calls=r"DELETE .*workspaces/[^/]*",
        theirs=(204, None, ANY),
        ours=(400, REFUSED, r"Deletion mode 'SET_DEFAULT' is not supported.*"),
    ),
    answers(
        "fields by their JSON names",
        "MLflow takes `experimentId` for `experiment_id`, which no client sends. It is a field that"
        " we don't know.",
        calls=r"POST runs/create",
        theirs=(ANY, ANY, r"Request specifies both .*|.*\"run_name\": \"by JSON name\".*"),
        ours=(200, None, r".*\"run_name\": \"<random name>\".*"),
    ),
    answers(
        "a HEAD with a query",
        "MLflow looks for the fields of a HEAD in its body, and misses them. We answer as to the"
        " GET.",
        calls=r"HEAD .*",
        theirs=(400, None, r""),
        ours=(ANY, None, r""),
    ),
    answers(
        "booleans as text",
        "MLflow's client for R sends TRUE as a text, which MLflow's server takes in a query and"
        " refuses in a body. We take it in both.",
        calls=r"POST model-versions/transition-stage",
        theirs=(400, REFUSED, r"Invalid value \"TRUE\" for parameter .*"),
        ours=(200, None, ANY),
    ),
    answers(
        "the liveness probe",
        "It answers OK in MLflow, and in JSON here.",
        calls=r"GET /?health",
        theirs=(200, None, r"OK"),
        ours=(200, None, ANY),
    ),
    answers(
        "counts of traces",
        "MLflow counts 0 traces. We don't count what is not kept.",
        calls=r"POST .*traces/metrics",
        theirs=(200, None, r".*\"COUNT\": 0\.0.*"),
        ours=(200, None, r"\{\}"),
    ),
    answers(
        "words for a page of too many traces",
        "MLflow says that the number has the wrong type.",
        calls=r"(GET|POST) .*traces(/search)?",
        theirs=(400, REFUSED, r"Invalid value .* for parameter 'max_results' supplied:  Hint: .*"),
        ours=(400, REFUSED, r"Invalid value .* for parameter 'max_results' supplied: it must .*"),
    ),
    answers(
        "the secrets of MLflow's gateway",
        "There is no gateway, and so no place for secrets.",
        calls=r"GET .*gateway/secrets/config",
        theirs=(200, None, r".*\"secrets_available\": true.*"),
        ours=(200, None, r".*\"secrets_available\": false.*"),
    ),
    Difference(
        "routes and methods that are not there",
        "MLflow answers with a page. We answer as its client expects: ENDPOINT_NOT_FOUND.",
        ANY,
        page_as_error,
    ),
    answers(
        "a slash at the end, and every version",
        "MLflow serves most routes under 2.0 alone. We serve all under 2.0 and 3.0.",
        calls=r"GET (experiments/get/|/api/3.0/mlflow/experiments/get)",
        theirs=(404, None, r"<!doctype html>.*"),
        ours=(200, None, ANY),
    ),
    answers(
        "artifact locations",
        "A location on the server's own disks is refused: it is how MLflow servers were made to"
        " read their own files. So is one with a query, a fragment, '..' or an escaped character.",
        calls=r"POST experiments/create",
        theirs=(200, None, ANY),
        ours=(400, REFUSED, r"Invalid value .* for parameter 'artifact_location' supplied: .*"),
    ),
    answers(
        "words for a refused artifact location",
        "Both refuse it; MLflow names its own setting.",
        calls=r"POST experiments/create",
        theirs=(400, REFUSED, r"'artifact_location' .*"),
        ours=(400, REFUSED, r"Invalid value .* for parameter 'artifact_location' supplied: .*"),
    ),
    answers(
        "experiments without max_results",
        "MLflow's server refuses a search of experiments without max_results, which its"
        " documentation does not ask for. We take 1000, as for runs.",
        calls=r"(GET|POST) experiments/search",
        theirs=(400, REFUSED, r"Invalid value 0 for parameter 'max_results' supplied\..*"),
        ours=(200, None, ANY),
    ),
)

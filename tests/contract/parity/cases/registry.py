"""The model registry: models, versions, tags, aliases, stages."""

from typing import Any

from tests.contract.parity.cases.calls import Call, Case, create_run, delete, get, patch, post, tags

MODELS, VERSIONS = "registered-models", "model-versions"
SOURCE = "s3://bucket/model"


def create_model(name: Any = "m", **fields: Any) -> Call:
    return post(f"{MODELS}/create", name=name, **fields)


def get_model(name: str = "m") -> Call:
    return get(f"{MODELS}/get", name=name)


def create_version(name: Any = "m", **fields: Any) -> Call:
    return post(f"{VERSIONS}/create", **({"name": name, "source": SOURCE} | fields))


def get_version(version: Any = "1", name: str = "m") -> Call:
    return get(f"{VERSIONS}/get", name=name, version=version)


def set_alias(alias: Any, version: Any = "1", name: str = "m") -> Call:
    return post(f"{MODELS}/alias", name=name, alias=alias, version=version)


def stage(stage: Any, version: str = "1", archive: Any = False) -> Call:
    return post(
        f"{VERSIONS}/transition-stage",
        name="m",
        version=version,
        stage=stage,
        archive_existing_versions=archive,
    )


def set_version_tag(key: Any, value: Any, version: Any = "1") -> Call:
    return post(f"{VERSIONS}/set-tag", name="m", version=version, key=key, value=value)


def find(**query: Any) -> Call:
    return get(f"{MODELS}/search", **query)


def find_versions(**query: Any) -> Call:
    return get(f"{VERSIONS}/search", **query)


SOME: Case = [
    create_model("a", tags=tags(k="1")),
    create_model("B", description="second"),
    create_model("ab"),
    create_version("a"),
    create_version("a", source="s3://bucket/other", tags=tags(t="x")),
    create_version("B"),
]

CASES: dict[str, Case] = {
    "a model is registered": [create_model(), get_model()],
    "a model with tags and a description": [
        create_model(tags=tags(k="v", empty=""), description="text"),
        get_model(),
    ],
    "a name is required, and not taken": [
        create_model(""),
        create_model(None),
        create_model(7),
        post(f"{MODELS}/create"),
        create_model(),
        create_model(),
    ],
    "names of any characters": [
        create_model("ä 日本"),
        get_model("ä 日本"),
        create_model("a/b"),
        create_model("a:b"),
    ],
    "a model that is not there": [
        get_model(),
        patch(f"{MODELS}/update", name="m", description="d"),
        post(f"{MODELS}/rename", name="m", new_name="n"),
        delete(f"{MODELS}/delete", name="m"),
        post(f"{MODELS}/set-tag", name="m", key="k", value="v"),
        delete(f"{MODELS}/delete-tag", name="m", key="k"),
        create_version(),
        get_version(),
        post(f"{MODELS}/get-latest-versions", name="m"),
        set_alias("x"),
        get(f"{MODELS}/alias", name="m", alias="x"),
    ],
    "a model is renamed, with its versions": [
        create_model(),
        create_version(),
        post(f"{MODELS}/rename", name="m", new_name="n"),
        get_model("n"),
        get_model("m"),
        get_version(name="n"),
        create_model("other"),
        post(f"{MODELS}/rename", name="n", new_name="other"),
        post(f"{MODELS}/rename", name="n"),
    ],
    "a model is described and deleted": [
        create_model(),
        patch(f"{MODELS}/update", name="m", description="d"),
        get_model(),
        patch(f"{MODELS}/update", name="m"),
        get_model(),
        delete(f"{MODELS}/delete", name="m"),
        get_model(),
        create_model(),
    ],
    "tags of a model": [
        create_model(),
        post(f"{MODELS}/set-tag", name="m", key="k", value="1"),
        post(f"{MODELS}/set-tag", name="m", key="k", value="2"),
        get_model(),
        delete(f"{MODELS}/delete-tag", name="m", key="k"),
        get_model(),
        delete(f"{MODELS}/delete-tag", name="m", key="k"),
        post(f"{MODELS}/set-tag", name="m", key="", value="2"),
        post(f"{MODELS}/set-tag", name="m", key="k" * 251, value="2"),
    ],
    "versions are counted": [
        create_model(),
        create_version(),
        create_version(description="d", tags=tags(k="v")),
        get_version("2"),
        get_model(),
        delete(f"{VERSIONS}/delete", name="m", version="2"),
        create_version(),
        get_version("2"),
    ],
    "a version of a run": [
        create_run(),
        create_model(),
        create_version(run_id="$run", run_link="http://host/run"),
        get_version(),
    ],
    "a version that is not there": [
        create_model(),
        get_version("1"),
        get_version("x"),
        patch(f"{VERSIONS}/update", name="m", version="1", description="d"),
        delete(f"{VERSIONS}/delete", name="m", version="1"),
        get(f"{VERSIONS}/get-download-uri", name="m", version="1"),
        stage("Staging"),
        set_version_tag("k", "v"),
        set_alias("x"),
    ],
    "parts of a version are required": [
        create_model(),
        post(f"{VERSIONS}/create", name="m"),
        post(f"{VERSIONS}/create", source=SOURCE),
        get(f"{VERSIONS}/get", name="m"),
        get(f"{VERSIONS}/get", version="1"),
    ],
    "a version is described, tagged and downloaded": [
        create_model(),
        create_version(),
        patch(f"{VERSIONS}/update", name="m", version="1", description="d"),
        set_version_tag("k", "1"),
        set_version_tag("k", "2"),
        get_version(),
        delete(f"{VERSIONS}/delete-tag", name="m", version="1", key="k"),
        get_version(),
        get(f"{VERSIONS}/get-download-uri", name="m", version="1"),
    ],
    "stages": [
        create_model(),
        create_version(),
        create_version(),
        stage("Staging"),
        stage("staging", "2"),
        stage("Production", archive=True),
        stage("Production", "2", archive=True),
        get_version("1"),
        stage("Nowhere"),
        stage("Archived", "2", archive=True),
        post(f"{MODELS}/get-latest-versions", name="m"),
        get(f"{MODELS}/get-latest-versions", name="m", stages=["None", "Archived"]),
        post(f"{MODELS}/get-latest-versions", name="m", stages=["x"]),
    ],
    "texts that are longer than MLflow's columns": [
        create_model("n" * 257),
        create_model(),
        patch(f"{MODELS}/update", name="m", description="d" * 5001),
        create_version(description="d" * 5001),
        create_version(run_link="l" * 501),
    ],
    "aliases": [
        create_model(),
        create_version(),
        create_version(),
        set_alias("best"),
        set_alias("best", "2"),
        set_alias("other"),
        get_model(),
        get_version("2"),
        find(),
        find_versions(),
        post(f"{MODELS}/get-latest-versions", name="m"),
        patch(f"{MODELS}/update", name="m", description="d"),
        post(f"{MODELS}/rename", name="m", new_name="n"),
        post(f"{MODELS}/rename", name="n", new_name="m"),
        get(f"{MODELS}/alias", name="m", alias="best"),
        get(f"{MODELS}/alias", name="m", alias="none"),
        delete(f"{MODELS}/alias", name="m", alias="best"),
        delete(f"{MODELS}/alias", name="m", alias="best"),
        get(f"{MODELS}/alias", name="m", alias="best"),
        *(set_alias(alias) for alias in ("latest", "v1", "V2", "1", "a b", "a/b", "", "x" * 256)),
        delete(f"{VERSIONS}/delete", name="m", version="1"),
        get_model(),
    ],
    "models are found": [
        *SOME,
        *(
            find(filter=filter)
            for filter in ("", "name = 'a'", "name LIKE 'a%'", "name ILIKE 'b'", "tags.k = '1'")
        ),
        find(order_by="name DESC"),
        find(order_by=["name ASC", "last_updated_timestamp"]),
        find(max_results=2).keeping(token="next_page_token"),
        find(max_results=2, page_token="$token"),
    ],
    "searches of models that are refused": [
        *SOME,
        *(
            find(filter=filter)
            for filter in ("name > 'a'", "what = 'a'", "name", "params.p = '1'", "name = 1")
        ),
        find(order_by="what"),
        find(max_results=0),
        find(max_results=1001),
        find(page_token="forged"),
    ],
    "versions are found": [
        *SOME,
        *(
            find_versions(filter=filter, order_by=["name", "version_number"])
            for filter in (
                "",
                "name = 'a'",
                "name LIKE '%'",
                "source_path = 's3://bucket/other'",
                "tags.t = 'x'",
                "version_number > 1",
                "version_number = '1'",
                "name IN ('a')",
                "run_id IN ('x')",
            )
        ),
        find_versions(filter="name = 'a'", order_by="version_number DESC"),
        find_versions(filter="name = 'a'", order_by="version_number", max_results=1),
    ],
    "searches of versions that are refused": [
        *SOME,
        *(find_versions(filter=filter) for filter in ("what = 'a'", "name", "name > 'a'")),
        find_versions(order_by="what"),
        find_versions(max_results=0),
        find_versions(max_results=200_001),
    ],
    "sources that are refused": [
        create_model(),
        *(
            create_version(source=source)
            for source in (
                "/etc/passwd",
                "file:///etc",
                "",
                "mlflow-artifacts:/../x",
                "mlflow-artifacts:/a/../../b",
                "http://host/a/../b",
                "models:/m-" + "0" * 32,
            )
        ),
    ],
}

"""Experiments: names, tags, lifecycle, search."""

from tests.contract.parity.cases.calls import (
    Case,
    create_experiment,
    create_run,
    delete_run,
    get,
    get_experiment,
    get_run,
    post,
    restore_run,
    search_runs,
    set_tag,
    tags,
)

ABSENT = "123456789012345678"


def delete_experiment(experiment: str = "$experiment") -> object:
    return post("experiments/delete", experiment_id=experiment)


def restore_experiment(experiment: str = "$experiment") -> object:
    return post("experiments/restore", experiment_id=experiment)


def rename_experiment(new_name: object, experiment: object = "$experiment") -> object:
    return post("experiments/update", experiment_id=experiment, new_name=new_name)


def set_experiment_tag(key: object, value: object, experiment: object = "$experiment") -> object:
    return post("experiments/set-experiment-tag", experiment_id=experiment, key=key, value=value)


def delete_experiment_tag(key: object, experiment: object = "$experiment") -> object:
    return post("experiments/delete-experiment-tag", experiment_id=experiment, key=key)


def search(**fields: object) -> object:
    return post("experiments/search", **({"max_results": 100} | fields))


SOME = [
    create_experiment("a", keep="a", tags=tags(k="1", t="x")),
    create_experiment("b", keep="b", tags=tags(k="2")),
    create_experiment("Ab", keep="ab"),
    create_experiment("c%", keep="c"),
    delete_experiment("$c"),
]

CASES: dict[str, Case] = {
    "an experiment is shown by its id and by its name": [
        create_experiment("a"),
        get_experiment(),
        get("experiments/get-by-name", experiment_name="a"),
    ],
    "experiment 0 is there from the start": [
        get_experiment("0"),
        get("experiments/get-by-name", experiment_name="Default"),
        search(),
    ],
    "tags given with an experiment are its tags": [
        create_experiment("a", tags=tags(k="v", empty="")),
        get_experiment(),
    ],
    "the last of two equal keys": [
        post(
            "experiments/create",
            name="a",
            tags=[{"key": "k", "value": "1"}, {"key": "k", "value": "2"}],
        ),
    ],
    "a tag without a key or a value": [
        post("experiments/create", name="a", tags=[{"value": "v"}]),
        post("experiments/create", name="b", tags=[{"key": "k"}]),
        get("experiments/get-by-name", experiment_name="b"),
    ],
    "a name is required": [
        post("experiments/create"),
        post("experiments/create", name=""),
        post("experiments/create", name=None),
        post("experiments/create", name=7),
        post("experiments/create", name=["a"]),
        post("experiments/create", name={"a": 1}),
        post("experiments/create", name=True),
    ],
    "names of any characters": [
        create_experiment("ä/ö:'\" %_\\ 🙂"),
        get_experiment(),
        get("experiments/get-by-name", experiment_name="ä/ö:'\" %_\\ 🙂"),
        create_experiment(" "),
        create_experiment(" a "),
        get_experiment(),
    ],
    "the longest name": [
        create_experiment("n" * 500),
        post("experiments/create", name="n" * 501),
        rename_experiment("m" * 501),
        rename_experiment("m" * 500),
    ],
    "a name that is taken": [
        create_experiment("a"),
        post("experiments/create", name="a"),
        create_experiment("A"),
        rename_experiment("a"),
        post("experiments/create", name="Default"),
    ],
    "a name that an archived experiment has": [
        create_experiment("a"),
        delete_experiment(),
        post("experiments/create", name="a"),
        create_experiment("b", keep="other"),
        rename_experiment("a", "$other"),
        get("experiments/get-by-name", experiment_name="a"),
    ],
    "a cloud location is kept": [
        create_experiment("a", artifact_location="s3://bucket/folder"),
        get_experiment(),
        create_run(experiment_id="$experiment"),
        get_run(),
        create_experiment("b", artifact_location="gs://bucket/folder/"),
        get_experiment(),
    ],
    "an empty location is none": [create_experiment("a", artifact_location=""), get_experiment()],
    "a local location": [post("experiments/create", name="a", artifact_location="/tmp/a")],
    "a location by file:": [post("experiments/create", name="a", artifact_location="file:///tmp")],
    "a location by http:": [post("experiments/create", name="a", artifact_location="http://h/a")],
    "a location with a query or a fragment": [
        post("experiments/create", name="a", artifact_location="s3://b/a?c=d"),
        post("experiments/create", name="b", artifact_location="s3://b/a#c"),
    ],
    "a location that leaves its folder": [
        post("experiments/create", name="a", artifact_location="s3://bucket/../other"),
    ],
    "an experiment that is not there": [
        get_experiment(ABSENT),
        get("experiments/get-by-name", experiment_name="none"),
        delete_experiment(ABSENT),
        restore_experiment(ABSENT),
        rename_experiment("b", ABSENT),
        set_experiment_tag("k", "v", ABSENT),
        delete_experiment_tag("k", ABSENT),
        post("runs/create", experiment_id=ABSENT),
        search_runs(experiment_ids=[ABSENT]),
    ],
    "an id that is no number": [
        get_experiment("a name"),
        delete_experiment("x"),
        restore_experiment("x"),
        rename_experiment("b", "x"),
        set_experiment_tag("k", "v", "x"),
        delete_experiment_tag("k", "x"),
        post("runs/create", experiment_id="x"),
        search_runs(experiment_ids=["x"]),
    ],
    "an id that is required": [
        get("experiments/get"),
        get("experiments/get", experiment_id=""),
        get("experiments/get-by-name"),
        get("experiments/get-by-name", experiment_name=""),
        post("experiments/delete"),
        post("experiments/restore"),
        post("experiments/update"),
        post("experiments/set-experiment-tag"),
        post("experiments/delete-experiment-tag"),
    ],
    "an experiment is renamed": [
        create_experiment("a"),
        rename_experiment("b"),
        get_experiment(),
        rename_experiment("b"),
        create_experiment("a", keep="other"),
        rename_experiment(""),
        post("experiments/update", experiment_id="$experiment"),
        rename_experiment(None),
    ],
    "experiment 0 may be renamed and archived": [
        rename_experiment("mine", "0"),
        get_experiment("0"),
        delete_experiment("0"),
        get_experiment("0"),
        post("runs/create", experiment_id="0"),
        restore_experiment("0"),
        get_experiment("0"),
    ],
    "an archived experiment is shown, and cannot be changed": [
        create_experiment("a"),
        set_experiment_tag("k", "v"),
        delete_experiment(),
        get_experiment(),
        rename_experiment("b"),
        set_experiment_tag("k", "w"),
        delete_experiment_tag("k"),
        delete_experiment(),
        post("runs/create", experiment_id="$experiment"),
        restore_experiment(),
        get_experiment(),
        restore_experiment(),
    ],
    "runs are archived and restored with their experiment": [
        create_experiment("a"),
        create_run("1", keep="one", experiment_id="$experiment"),
        create_run("2", keep="two", experiment_id="$experiment"),
        delete_run("$one"),
        delete_experiment(),
        get_run("$one"),
        get_run("$two"),
        set_tag("k", "v", run="$two"),
        search_runs(experiment_ids=["$experiment"]),
        search_runs(experiment_ids=["$experiment"], run_view_type="ALL", order_by=["run_name"]),
        restore_experiment(),
        get_run("$one"),
        get_run("$two"),
        search_runs(experiment_ids=["$experiment"], order_by=["run_name"]),
    ],
    "a run is restored in an archived experiment": [
        create_experiment("a"),
        create_run(experiment_id="$experiment"),
        delete_experiment(),
        restore_run(),
        get_run(),
    ],
    "tags are set, overwritten and deleted": [
        create_experiment("a"),
        set_experiment_tag("k", "1"),
        set_experiment_tag("k", "2"),
        set_experiment_tag("other", ""),
        get_experiment(),
        delete_experiment_tag("k"),
        get_experiment(),
        delete_experiment_tag("k"),
    ],
    "values of the wrong type in a tag": [
        create_experiment("a"),
        set_experiment_tag("k", 7),
        set_experiment_tag(7, "v"),
        set_experiment_tag("k", None),
        set_experiment_tag("k", ["v"]),
        set_experiment_tag("", "v"),
        set_experiment_tag(None, "v"),
        post("experiments/set-experiment-tag", experiment_id="$experiment", key="none"),
        delete_experiment_tag(7),
        delete_experiment_tag(""),
    ],
    "limits of tags": [
        create_experiment("a"),
        set_experiment_tag("k" * 250, "v"),
        set_experiment_tag("k" * 251, "v"),
        set_experiment_tag("k", "v" * 5001),
    ],
    "keys of tags": [
        create_experiment("a"),
        *(
            set_experiment_tag(key, "v")
            for key in ("a/b", "a b", "a.b", "a-b", "a:b", "ä", "a//b", "../a", "/a", "a/", ".")
        ),
        *(set_experiment_tag(key, "v") for key in ("a*b", "a,b", "a'b", "a\\b", "a\nb")),
        get_experiment(),
    ],
    "experiments are found newest first": [*SOME, search()],
    "experiments by view": [
        *SOME,
        search(view_type="DELETED_ONLY"),
        search(view_type="ALL"),
        search(view_type="ACTIVE_ONLY"),
        search(view_type=2),
        search(view_type="2"),
        search(view_type=3),
    ],
    "experiments by name": [
        *SOME,
        *(
            search(filter=filter, view_type="ALL")
            for filter in (
                "name = 'a'",
                "name != 'a'",
                "attribute.name LIKE 'a%'",
                "attributes.name ILIKE 'a%'",
                "name LIKE '%b'",
                "name LIKE 'c%'",
                "name IN ('a', 'b')",
                "name = 'a' AND tags.k = '1'",
            )
        ),
    ],
    "experiments by tag": [
        *SOME,
        *(
            search(filter=filter)
            for filter in (
                "tags.k = '1'",
                "tags.k != '1'",
                "tag.k LIKE '%'",
                "tags.`k` ILIKE '2'",
                "tags.k = '1' and tags.t = 'x'",
                "tags.none = '1'",
                "tags.k IS NULL",
                "tags.k IS NOT NULL",
            )
        ),
    ],
    "experiments by time": [
        *SOME,
        search(filter="creation_time > 1000"),
        search(filter="last_update_time < 1000"),
        search(filter="creation_time != 5"),
    ],
    "searches of experiments that are refused": [
        search(filter="name"),
        search(filter="name = a"),
        search(filter="name > 'a'"),
        search(filter="what = 'a'"),
        search(filter="params.p = 'a'"),
        search(filter="creation_time LIKE '1'"),
        search(filter="creation_time = 'a'"),
        search(order_by=["what"]),
        search(order_by=["name up"]),
        search(order_by=["metrics.m"]),
        search(page_token="no token"),
    ],
    "experiments in order": [
        *SOME,
        search(order_by=["name"]),
        search(order_by=["name ASC"]),
        search(order_by=["name desc"]),
        search(order_by=["attribute.name DESC"]),
        search(order_by=["experiment_id"]),
        search(order_by=["experiment_id DESC"]),
        search(order_by=["name", "name DESC"]),
    ],
    "experiments by page": [
        *SOME,
        search(max_results=2).keeping(token="next_page_token"),
        search(max_results=2, page_token="$token"),
        search(max_results=3),
        search(max_results=4),
    ],
    "a page's size": [
        search(max_results=0),
        search(max_results=-1),
        search(max_results=50_000),
        search(max_results=50_001),
        search(max_results="2"),
        search(max_results="two"),
        search(max_results=1.5),
        search(max_results=None),
        post("experiments/search"),
    ],
    "experiments searched with GET": [
        *SOME,
        get("experiments/search", max_results=2, view_type="ALL"),
        get("experiments/search", max_results=5, order_by=["name ASC", "experiment_id"]),
        get("experiments/search", max_results=5, filter="name = 'a'"),
        get("experiments/search"),
    ],
}

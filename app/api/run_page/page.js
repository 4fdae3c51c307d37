// The page of one tenant: its experiments, runs and models, read from MLflow's REST API.
"use strict";

const KEY = "tracking.key";
const PAGE = 100;
const base = location.pathname.replace(/[^/]*$/, "");
const main = document.getElementById("main");
const status = document.getElementById("status");
const forget = document.getElementById("forget");

/** A request that the server refused. */
class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** An element. Children are elements and texts: nothing is ever parsed as HTML. */
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return made;
}

const link = (path, text) => element("a", { href: `#/${path}` }, text);
const part = encodeURIComponent;

/** What the address says behind its #: the parts of the path, the workspace, which is a tenant, and
 *  all but the workspace as a text. */
function address() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const decoded = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };
  const parts = path.split("/").filter(Boolean).map(decoded);
  const fields = new URLSearchParams(query);
  const workspace = fields.get("workspace");
  fields.delete("workspace");
  return { parts, workspace, rest: fields.size ? `${path}?${fields}` : path };
}

/** A call of the REST API; `body` makes it a POST. Cookies and dialogs of the browser stay out. */
async function call(path, fields, body) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers["Authorization"] = `Bearer ${key}`;
  const { workspace } = address();
  if (workspace) headers["X-MLFLOW-WORKSPACE"] = workspace;
  const options = { headers, credentials: "omit", signal: view.signal };
  if (body) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  const query = fields ? `?${new URLSearchParams(fields)}` : "";
  const answer = await fetch(`${base}api/2.0/mlflow/${path}${query}`, options);
  const json = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    throw new Refused(answer.status, json.message || json.detail || `The answer is ${answer.status}`);
  }
  return json;
}

function time(milliseconds) {
  if (!milliseconds) return "–";
  const date = new Date(Number(milliseconds));
  if (Number.isNaN(date.getTime())) return String(milliseconds);
  return element("time", { datetime: date.toISOString() }, date.toLocaleString());
}

function duration(start, end) {
  if (!start || !end) return "–";
  const seconds = (end - start) / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let value = bytes;
  let unit = -1;
  do {
    value /= 1000;
    unit += 1;
  } while (value >= 999.5 && unit < units.length - 1);
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

const badge = (word) => element("span", { class: `badge ${word}` }, word.replace("LOGGED_MODEL_", ""));
const byKey = (one, other) => one.key.localeCompare(other.key, undefined, { numeric: true });

function facts(pairs) {
  const shown = Object.entries(pairs).filter(([, value]) => value !== undefined && value !== "");
  return element(
    "section",
    null,
    element("dl", null, shown.map(([name, value]) =>
      element("div", null, element("dt", null, name), element("dd", null, value)))),
  );
}

/** A section with a table; `columns` are names, or [name, class]; a row's first cell is its head. */
function table(title, columns, rows, none) {
  const heading = element("h2", null, title, " ", element("small", null, String(rows.length)));
  if (!rows.length) return element("section", null, heading, element("p", { class: "none" }, none));
  const names = columns.map((column) => [].concat(column));
  const head = names.map(([name, kind]) => element("th", { scope: "col", class: kind }, name));
  const body = rows.map((cells) => element("tr", null, cells.map((cell, index) =>
    index ? element("td", { class: names[index][1] }, cell) : element("th", { scope: "row" }, cell))));
  return element(
    "section",
    null,
    heading,
    element(
      "table",
      null,
      element("caption", { class: "visually-hidden" }, title),
      element("thead", null, element("tr", null, head)),
      element("tbody", null, body),
    ),
  );
}

function pairs(title, list, none) {
  const rows = [...(list || [])].sort(byKey)
    .map(({ key, value }) => [key, element("div", { class: "text" }, value)]);
  return table(title, ["Key", "Value"], rows, none);
}

function texts(title, text) {
  return text && element("section", null, element("h2", null, title),
    element("p", { class: "text" }, text));
}

function metrics(list) {
  const rows = [...(list || [])].sort(byKey)
    .map(({ key, value, step, timestamp }) => [key, String(value), String(step ?? 0), time(timestamp)]);
  const columns = ["Metric", ["Last value", "number"], ["Step", "number"], "Time"];
  return table("Metrics", columns, rows, "No metrics were logged.");
}

/** The tags that people set, and those of MLflow. */
function tags(list) {
  const own = (list || []).filter(({ key }) => !key.startsWith("mlflow."));
  const system = (list || []).filter(({ key }) => key.startsWith("mlflow."));
  return [
    pairs("Tags", own, "There are no tags."),
    system.length ? pairs("MLflow's tags", system, "") : undefined,
  ];
}

/** A section with all pages of a list: a button asks for the next one. */
function pages(title, columns, read, none) {
  const rows = [];
  const holder = element("div");
  const show = async (token) => {
    const page = await read(token);
    rows.push(...page.rows);
    const made = table(title, columns, rows, none);
    if (page.next) {
      const more = element("button", { type: "button", class: "more", click: act(() => show(page.next)) },
        "Show more");
      made.append(more);
    }
    holder.replaceChildren(made);
  };
  return show().then(() => holder);
}

/** The files of a folder as a list; folders open in place. `list` lists, `save` saves a file. */
async function files(list, save, path) {
  const found = (await list(path)).files || [];
  found.sort((one, other) => Boolean(other.is_dir) - Boolean(one.is_dir)
    || one.path.localeCompare(other.path, undefined, { numeric: true }));
  return element("ul", { class: "files" }, found.map((file) => {
    const name = file.path.split("/").pop();
    if (!file.is_dir) {
      const action = save
        ? element("button", { type: "button", title: `Download ${file.path}`, click: act(() => save(file.path)) }, name)
        : name;
      return element("li", null, action, element("small", null, size(Number(file.file_size || 0))));
    }
    const item = element("li");
    const button = element("button", {
      type: "button",
      "aria-expanded": "false",
      click: act(async () => {
        const open = button.getAttribute("aria-expanded") === "true";
        button.setAttribute("aria-expanded", String(!open));
        item.querySelector("ul")?.remove();
        if (!open) item.append(await files(list, save, file.path));
      }),
    }, name);
    item.append(button);
    return item;
  }));
}

async function artifacts(list, save) {
  const shown = await files(list, save, "");
  const none = shown.childElementCount ? undefined
    : element("p", { class: "none" }, "No files were logged.");
  return element("section", null, element("h2", null, "Artifacts"), none || shown);
}

/** The way to where the page is, and its heading. */
function heading(way, name) {
  const steps = way.flatMap((step) => [step, " / "]);
  document.title = `${name} · Experiment tracking`;
  return [element("p", { class: "path" }, steps), element("h1", { tabindex: "-1" }, name)];
}

const views = {
  async experiments() {
    const read = async (token) => {
      const found = await call("experiments/search", null,
        { max_results: PAGE, order_by: ["last_update_time DESC"], page_token: token || "" });
      const rows = (found.experiments || []).map((one) =>
        [link(`experiments/${one.experiment_id}`, one.name), time(one.creation_time), time(one.last_update_time)]);
      return { rows, next: found.next_page_token };
    };
    return [heading([], "Experiments"),
      await pages("Experiments", ["Name", "Created", "Changed"], read, "There are no experiments.")];
  },

  async experiment(id) {
    const { experiment } = await call("experiments/get", { experiment_id: id });
    const read = async (token) => {
      const found = await call("runs/search", null,
        { experiment_ids: [id], max_results: PAGE, page_token: token || "" });
      const rows = (found.runs || []).map(({ info }) => [
        link(`experiments/${part(id)}/runs/${info.run_id}`, info.run_name || info.run_id),
        badge(info.status), time(info.start_time), duration(info.start_time, info.end_time), info.user_id || "–",
      ]);
      return { rows, next: found.next_page_token };
    };
    const { note, rest } = withoutNote(experiment.tags);
    return [
      heading([link("experiments", "Experiments")], experiment.name),
      facts({
        ID: experiment.experiment_id,
        State: experiment.lifecycle_stage === "deleted" ? badge("deleted") : undefined,
        Created: time(experiment.creation_time),
        Changed: time(experiment.last_update_time),
      }),
      texts("Note", note),
      await pages("Runs", ["Name", "Status", "Started", "Duration", "User"], read, "There are no runs."),
      tags(rest),
    ];
  },

  async run(experimentId, id) {
    const list = (path) => call("artifacts/list", { run_id: id, path });
    const save = async (path) => {
      const { presigned_url: url } =
        await call("artifacts/presigned-download-url", null, { run_id: id, path });
      location.assign(url); // an attachment: the page stays
    };
    const { run } = await call("runs/get", { run_id: id });
    const { info, data } = run;
    const [{ experiment }, shownFiles] = await Promise.all([
      call("experiments/get", { experiment_id: info.experiment_id }),
      artifacts(list, save),
    ]);
    const { note, rest } = withoutNote(data.tags);
    const where = `experiments/${info.experiment_id}`;
    const models = (run.outputs?.model_outputs || []).map(({ model_id: model, step }) =>
      [link(`${where}/models/${model}`, model), String(step ?? 0)]);
    const datasets = (run.inputs?.dataset_inputs || []).map(({ dataset }) =>
      [dataset.name, dataset.digest, dataset.source_type]);
    const parent = (data.tags || []).find(({ key }) => key === "mlflow.parentRunId");
    return [
      heading([link("experiments", "Experiments"), link(where, experiment.name)], info.run_name || id),
      facts({
        Status: badge(info.status),
        State: info.lifecycle_stage === "deleted" ? badge("deleted") : undefined,
        Started: time(info.start_time),
        Ended: time(info.end_time),
        Duration: duration(info.start_time, info.end_time),
        User: info.user_id,
        "Run ID": info.run_id,
        "Parent run": parent && link(`${where}/runs/${part(parent.value)}`, parent.value),
      }),
      texts("Note", note),
      metrics(data.metrics),
      pairs("Params", data.params, "No params were logged."),
      shownFiles,
      models.length ? table("Logged models", ["Model", ["Step", "number"]], models, "") : undefined,
      datasets.length ? table("Datasets", ["Name", "Digest", "Source"], datasets, "") : undefined,
      tags(rest),
    ];
  },

  async loggedModel(experimentId, id) {
    const list = (path) =>
      call(`logged-models/${part(id)}/artifacts/directories`, { artifact_directory_path: path });
    const [{ model }, shownFiles] = await Promise.all([
      call(`logged-models/${part(id)}`), artifacts(list, null),
    ]);
    const { info, data } = model;
    const where = `experiments/${info.experiment_id}`;
    return [
      heading([link("experiments", "Experiments"), link(where, `Experiment ${info.experiment_id}`)], info.name),
      facts({
        Status: badge(info.status),
        Created: time(info.creation_timestamp_ms),
        Type: info.model_type,
        "Model ID": info.model_id,
        "Source run": info.source_run_id && link(`${where}/runs/${info.source_run_id}`, info.source_run_id),
      }),
      metrics(data?.metrics),
      pairs("Params", data?.params, "No params were logged."),
      shownFiles,
      tags(info.tags),
    ];
  },

  async models() {
    const read = async (token) => {
      const found = await call("registered-models/search", { max_results: PAGE, page_token: token || "" });
      const rows = (found.registered_models || []).map((one) => [
        link(`models/${part(one.name)}`, one.name), one.description || "–", time(one.last_updated_timestamp)]);
      return { rows, next: found.next_page_token };
    };
    return [heading([], "Registered models"),
      await pages("Models", ["Name", "Description", "Changed"], read, "There are no registered models.")];
  },

  async model(name) {
    const quote = name.includes("'") ? '"' : "'"; // a filter's texts have no escapes
    const filter = `name = ${quote}${name}${quote}`;
    const { registered_model: model } = await call("registered-models/get", { name });
    const aliases = (version) => (model.aliases || [])
      .filter((one) => one.version === version).map((one) => one.alias).join(", ");
    const read = async (token) => {
      const found = await call("model-versions/search",
        { filter, max_results: PAGE, order_by: "version_number DESC", page_token: token || "" });
      const rows = (found.model_versions || []).map((one) => [
        link(`models/${part(name)}/versions/${one.version}`, `Version ${one.version}`),
        badge(one.status), aliases(one.version) || "–", time(one.creation_timestamp)]);
      return { rows, next: found.next_page_token };
    };
    return [
      heading([link("models", "Models")], name),
      facts({ Created: time(model.creation_timestamp), Changed: time(model.last_updated_timestamp) }),
      texts("Description", model.description),
      await pages("Versions", ["Version", "Status", "Aliases", "Created"], read, "There are no versions."),
      tags(model.tags),
    ];
  },

  async version(name, number) {
    const { model_version: version } = await call("model-versions/get", { name, version: number });
    const run = version.run_id
      && (await call("runs/get", { run_id: version.run_id }).catch(() => null))?.run.info;
    return [
      heading([link("models", "Models"), link(`models/${part(name)}`, name)], `${name} ${number}`),
      facts({
        Status: badge(version.status),
        Aliases: (version.aliases || []).join(", "),
        Created: time(version.creation_timestamp),
        Changed: time(version.last_updated_timestamp),
        Source: version.source,
        Run: run ? link(`experiments/${run.experiment_id}/runs/${run.run_id}`, run.run_name || run.run_id)
          : version.run_id,
      }),
      texts("Description", version.description),
      tags(version.tags),
    ];
  },

  async unknown() {
    return [heading([link("experiments", "Experiments")], "This page does not show that"),
      element("p", null, "The address is one of MLflow's page for what is not shown here.")];
  },
};

/** The note that MLflow keeps in a tag, and the other tags. */
function withoutNote(list) {
  const key = "mlflow.note.content";
  const rest = (list || []).filter((tag) => tag.key !== key);
  return { note: (list || []).find((tag) => tag.key === key)?.value, rest };
}

/** The view of the address, with its arguments. */
function chosen(parts) {
  const [kind, first, second, third] = parts;
  if (!kind) return ["experiments"];
  if (kind === "experiments") {
    if (!first) return ["experiments"];
    if (second === "runs" && third) return ["run", first, third];
    if (second === "models" && third) return ["loggedModel", first, third];
    return ["experiment", first];
  }
  if (kind === "models" || kind === "prompts") {
    if (!first) return ["models"];
    if (second === "versions" && third) return ["version", first, third];
    return ["model", first];
  }
  return ["unknown"];
}

/** A handler of a click, which shows what goes wrong. */
function act(work) {
  return () => work().catch(failed);
}

function failed(error) {
  if (error.name === "AbortError") return;
  status.textContent = "";
  if (error instanceof Refused && error.code === 401) {
    askForKey(sessionStorage.getItem(KEY) ? "This key is not valid." : "");
    return;
  }
  const alert = element("p", { role: "alert", class: "text" },
    error instanceof Refused ? error.message : `The server cannot be reached: ${error.message}`);
  const other = error instanceof Refused && error.code === 403
    ? element("button", { type: "button", click: () => askForKey("") }, "Use another key") : undefined;
  const ask = element("div", null, alert, other);
  if (main.querySelector("section")) main.prepend(ask);
  else main.replaceChildren(...heading([link("experiments", "Experiments")], "Not shown").flat(), ask);
}

function askForKey(reason) {
  view.abort();
  sessionStorage.removeItem(KEY);
  forget.hidden = true;
  const input = element("input", {
    id: "key", type: "password", required: true, autocomplete: "off", spellcheck: "false",
    "aria-describedby": "key-note",
  });
  const form = element(
    "form",
    { submit: (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, input.value.trim());
      show();
    } },
    element("h1", null, "An API key is needed"),
    reason ? element("p", { role: "alert" }, reason) : undefined,
    element("label", { for: "key" }, "API key"),
    input,
    element("button", { type: "submit" }, "Show"),
    element("p", { class: "none", id: "key-note" }, "This tab keeps it until it is closed."),
  );
  document.title = "Experiment tracking";
  main.replaceChildren(element("section", null, form));
  input.focus();
}

/** Shows the view of the address. A view that is still loading is given up. */
async function show() {
  view.abort();
  view = new AbortController();
  const { signal } = view;
  status.textContent = "Loading…";
  forget.hidden = !sessionStorage.getItem(KEY);
  const { parts, workspace } = address();
  const tenant = workspace || /^\/t\/([^/]+)\//.exec(base.slice(base.lastIndexOf("/t/")))?.[1];
  document.getElementById("tenant").textContent = tenant ? `Tenant: ${tenant}` : "";
  const [name, ...given] = chosen(parts);
  try {
    const made = (await views[name](...given)).flat().filter(Boolean);
    if (signal.aborted) return;
    main.replaceChildren(...made);
    status.textContent = "";
    main.querySelector("h1").focus({ preventScroll: true });
    scrollTo(0, 0);
  } catch (error) {
    if (signal.aborted) return;
    main.replaceChildren();
    failed(error);
  }
}

let view = new AbortController();

/** MLflow's page has the same addresses, and shows the tenant of its path. */
function leave() {
  const { rest, workspace } = address();
  const tenant = workspace && /^[a-z0-9-]+$/.test(workspace) ? `t/${workspace}/` : "";
  const at = tenant && !/\/t\/[^/]+\/$/.test(base) ? base + tenant : base;
  location.replace(`${at}mlflow/#/${rest}`);
}

if (document.documentElement.hasAttribute("data-mlflow-page")) {
  leave();
} else {
  forget.addEventListener("click", () => askForKey(""));
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the hash is the address of a view
    main.focus();
  });
  addEventListener("hashchange", show);
  show();
}

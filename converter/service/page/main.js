import { Refused, ask, events, json, key, upload } from "./api.js";
import { build, read } from "./form.js";

const ENDED = ["succeeded", "failed", "cancelled", "expired"];
const $ = (id) => document.getElementById(id);
let targets = [];
let file = null;
let following = null; // ends what is followed when another conversion is opened
let current = null;

function show(error) {
  $("problem").hidden = false;
  $("problem").textContent = error instanceof TypeError ? "The server does not answer." : error.message;
  if (error instanceof Refused && error.status === 401) leave();
}

// A button's work: its errors are shown, and it is not begun twice.
const doing = (work) => async (event) => {
  event?.preventDefault();
  const button = event?.submitter ?? event?.currentTarget;
  $("problem").hidden = true;
  if (button) button.disabled = true;
  try {
    await work(event);
  } catch (error) {
    if (error.name !== "AbortError") show(error);
  } finally {
    if (button) button.disabled = false;
  }
};

function leave() {
  key.forget();
  following?.abort();
  for (const id of ["new", "planned", "job", "list", "leave"]) $(id).hidden = true;
  $("login").hidden = false;
  $("key").focus();
}

async function enter() {
  targets = await json("GET", "v1/targets");
  const cameras = { rvc2: "OAK, RVC2", rvc3: "RVC3", rvc4: "OAK 4, RVC4" };
  $("target").replaceChildren(...targets.map((one) => new Option(cameras[one.name] ?? one.name, one.name)));
  choose();
  $("login").hidden = true;
  for (const id of ["new", "list", "leave"]) $(id).hidden = false;
  await list();
}

const choose = () => build($("options"), targets.find((one) => one.name === $("target").value).options);

function take(one) {
  file = one;
  $("chosen").textContent = one ? `${one.name}, ${(one.size / 1e6).toFixed(2)} MB` : "";
  $("model").required = !one;
}

async function body() {
  const tell = (text) => ($("sending").textContent = text);
  const { values, files } = read($("options"), $("more").value);
  const calibration = $("calibration").files[0];
  const asked = { source: await upload(file, tell), target: $("target").value, options: values, uploads: {} };
  if (calibration) asked.calibration = await upload(calibration, tell);
  for (const [name, one] of Object.entries(files)) asked.uploads[name] = await upload(one, tell);
  tell("");
  return asked;
}

const items = (texts) => texts.map((text) => Object.assign(document.createElement("li"), { textContent: text }));

async function plan() {
  if (!$("new").reportValidity()) return;
  const asked = await body();
  $("sending").textContent = "Planning …";
  const planned = await json("POST", "v1/plans", { body: asked }).finally(() => ($("sending").textContent = ""));
  const told = (planned.warnings ?? []).map((one) => (typeof one === "string" ? one : one.message ?? JSON.stringify(one)));
  $("warnings").replaceChildren(...items(told.length ? told : ["No warnings."]));
  $("plan-text").textContent = JSON.stringify(planned, null, 2);
  $("planned").hidden = false;
  $("planned").scrollIntoView();
}

async function convert() {
  const asked = await body();
  const id = crypto.randomUUID();
  await json("PUT", `v1/conversions/${id}`, { body: asked });
  await Promise.all([open(id), list()]);
}

function stage(data) {
  let item = [...$("stages").children].find((one) => one.dataset.stage === data.stage);
  if (!item) {
    item = Object.assign(document.createElement("li"), { textContent: data.title ?? data.stage });
    item.dataset.stage = data.stage;
    $("stages").append(item);
  }
  const isOver = data.seconds !== undefined;
  item.classList.toggle("now", !isOver);
  if (isOver) item.textContent = `${item.textContent}, ${data.seconds.toFixed(1)} s`;
  $("progress").hidden = true;
}

function heard({ kind, data }) {
  if (kind === "stage") stage(data);
  else if (kind === "progress") {
    $("progress").hidden = false;
    Object.assign($("progress"), { max: data.total || 1, value: data.done });
  } else if (kind === "warning") $("job-warnings").append(...items([data.text]));
  else if (kind === "log") $("log").append(`${data.text}\n`);
  else if (kind === "state") {
    state(data.state, data.reason);
    if (data.state === "running") $("stages").replaceChildren(); // another attempt begins anew
  }
}

function state(name, reason) {
  $("state").textContent = name;
  $("state").className = name;
  $("reason").textContent = reason ?? "";
  $("cancel").hidden = ENDED.includes(name);
}

async function open(id) {
  following?.abort();
  following = new AbortController();
  const { signal } = following;
  const path = `v1/conversions/${encodeURIComponent(id)}`;
  current = { path, found: await json("GET", path, { signal }) };
  $("job-title").textContent = `${current.found.source.name} for ${current.found.target}`;
  for (const one of ["stages", "job-warnings", "log"]) $(one).replaceChildren();
  for (const one of ["download", "delete", "report", "progress"]) $(one).hidden = true;
  state(current.found.state, current.found.reason);
  $("job").hidden = false;
  $("job-title").focus();
  follow(path, signal).catch((error) => error.name === "AbortError" || show(error));
}

async function follow(path, signal) {
  let after = 0;
  let found = current.found;
  for (;;) {
    try {
      for await (const event of events(`${path}/events`, after, signal)) {
        after = event.id;
        heard(event);
      }
      found = await json("GET", path, { signal });
      if (ENDED.includes(found.state)) break;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // a lost connection is made again
      await new Promise((go) => setTimeout(go, 1000));
    }
  }
  current = { path, found };
  state(found.state, found.error ? `${found.error.message} ${found.error.remedy ?? ""}` : found.reason);
  $("progress").hidden = true;
  $("delete").hidden = false;
  const made = await json("GET", `${path}/artefacts`, { signal });
  $("download").hidden = !made.some((one) => one.kind === "archive");
  if (made.some((one) => one.kind === "log")) {
    // The whole of it: events have the first lines of a tool that prints without end.
    $("log").textContent = await (await ask("GET", `${path}/artefacts/log`, { signal })).text();
  }
  if (made.some((one) => one.kind === "report")) {
    // A sandbox without words: no script runs, and it has no origin.
    $("report").srcdoc = await (await ask("GET", `${path}/artefacts/report`, { signal })).text();
    $("report").hidden = false;
  }
  await list();
}

async function download() {
  const made = await json("GET", `${current.path}/artefacts`);
  const blob = await (await ask("GET", `${current.path}/artefacts/archive`)).blob();
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(blob),
    download: made.find((one) => one.kind === "archive").name,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

let older = null;
async function list(after) {
  const page = await json("GET", `v1/conversions?limit=20${after ? `&after=${after}` : ""}`);
  const rows = page.conversions.map((one) => {
    const row = document.createElement("tr");
    const opens = Object.assign(document.createElement("button"), { type: "button", textContent: one.source.name });
    opens.addEventListener("click", doing(() => open(one.id)));
    row.insertCell().append(opens);
    row.insertCell().textContent = one.target;
    const cell = row.insertCell();
    cell.textContent = one.state;
    cell.className = one.state;
    row.insertCell().textContent = new Date(one.created).toLocaleString();
    return row;
  });
  after ? $("rows").append(...rows) : $("rows").replaceChildren(...rows);
  older = page.next;
  $("older").hidden = !older;
}

$("login").addEventListener("submit", doing(async () => {
  key.set($("key").value.trim());
  $("key").value = "";
  await enter();
}));
$("new").addEventListener("submit", doing(convert));
$("plan").addEventListener("click", doing(plan));
$("target").addEventListener("change", choose);
$("model").addEventListener("change", () => take($("model").files[0] ?? null));
$("download").addEventListener("click", doing(download));
$("cancel").addEventListener("click", doing(() => ask("DELETE", current.path)));
$("delete").addEventListener("click", doing(async () => {
  await ask("DELETE", current.path);
  $("job").hidden = true;
  await list();
}));
$("older").addEventListener("click", doing(() => list(older)));
$("leave").addEventListener("click", leave);
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // a file dropped beside the field must not replace the page
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && !$("new").hidden && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}

key.get() ? doing(enter)() : leave();

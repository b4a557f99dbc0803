"use strict";

const FACETS = ["run", "role", "model", "via", "cell", "language", "outcome", "flip"];
const WORDS = { flip: "tuning", via: "asked", text: "text", source: "example" };
const N = 50;
let runs = [];
let shown = { rows: [], next: null };
let current = -1;
let asked = 0;

const byId = (id) => document.getElementById(id);

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

async function fetched(path, parameters) {
  const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`);
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return answer.json();
}

// The address holds what is looked at, so that it can be kept and passed on.
function state() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

function go(changes) {
  const wanted = { ...state(), ...changes };
  for (const name of Object.keys(wanted)) if (wanted[name] === "") delete wanted[name];
  location.hash = new URLSearchParams(wanted).toString();
}

function field(name, control) {
  const label = element("label", WORDS[name] || name);
  control.name = name;
  label.append(control);
  byId("filters").append(label);
}

function choices(name) {
  if (name === "run") return runs.map((run, i) => [String(i), run.name]);
  const run = runs[Number(state().run || 0)] || runs[0];
  const counts = Object.entries(run.counts[name]);
  // What another run had, or an older address names, filters as well, and must not look like all.
  const wanted = state()[name];
  if (wanted && !Object.hasOwn(run.counts[name], wanted)) counts.push([wanted, 0]);
  return [["", "all"], ...counts.map(([value, n]) => [value, `${value} (${n.toLocaleString("en")})`])];
}

// A trace or a restoration has more than one tuned model; else the role says which it is.
function hasSeveral(run = Number(state().run || 0)) {
  const counts = (runs[run] || runs[0]).counts;
  return Object.keys(counts.model).length > Object.keys(counts.role).length;
}

function who(row, run) {
  return hasSeveral(run) && row.model !== row.role ? `${row.role} (${row.model})` : row.role;
}

function drawFilters() {
  const now = state();
  byId("filters").replaceChildren();
  for (const name of FACETS) {
    if (name === "run" && runs.length < 2) continue;
    if (name === "model" && !hasSeveral() && !now.model) continue;
    const select = element("select");
    for (const [value, text] of choices(name)) {
      const option = element("option", text);
      option.value = value;
      option.selected = (now[name] || (name === "run" ? "0" : "")) === value;
      select.append(option);
    }
    select.addEventListener("change", () => go({ [name]: select.value, start: "" }));
    field(name, select);
  }
  for (const name of ["source", "text"]) {
    const input = element("input");
    input.type = "search";
    input.value = now[name] || "";
    input.maxLength = 200;
    input.addEventListener("change", () => go({ [name]: input.value, start: "" }));
    field(name, input);
  }
}

function card(row) {
  const item = element("li");
  const line = element("div");
  line.append(element("span", row.outcome, `outcome ${row.outcome}`));
  if (row.flip) line.append(" ", element("span", `(example ${row.flip} by tuning)`, "flip"));
  line.append(" ", element("span", `${who(row)}, ${row.via}, ${row.cell}, ${row.source}`, "about"));
  item.append(line, element("pre", row.prompt), element("pre", `→ ${row.answer}`));
  if (row.flags) item.append(element("p", row.flags, "about"));
  return item;
}

function status(found, start) {
  const n = found.n.toLocaleString("en");
  if (!found.n) return "No answer passes these filters.";
  const last = found.next === null ? found.n : found.next;
  if (!state().text) {
    return `${(start + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${n} answers.`;
  }
  const looked = last.toLocaleString("en");
  const more = found.whole ? "" : " Not all could be searched in time: the next page goes on.";
  return `${found.rows.length} found among the first ${looked} of ${n} answers.${more}`;
}

async function draw() {
  const now = state();
  const number = ++asked;
  drawFilters();
  let found;
  try {
    found = await fetched("/api/answers", { ...now, n: N });
  } catch (error) {
    byId("status").textContent = `The server does not answer: ${error.message}`;
    return;
  }
  if (number !== asked) return;
  shown = found;
  byId("answers").replaceChildren(...found.rows.map(card));
  [...byId("answers").children].forEach((item, i) => item.addEventListener("click", () => compare(i)));
  byId("status").textContent = status(found, Number(now.start || 0));
  byId("next").disabled = found.next === null;
  byId("previous").disabled = !Number(now.start || 0);
  select(found.rows.length ? 0 : -1, false);
  if (now.open) open(now.open);
  else if (byId("comparison").open) byId("comparison").close();
}

function select(index, scroll = true) {
  const items = byId("answers").children;
  if (current >= 0 && items[current]) items[current].removeAttribute("aria-current");
  current = Math.min(Math.max(index, 0), items.length - 1);
  if (current < 0) return;
  items[current].setAttribute("aria-current", "true");
  if (scroll) items[current].scrollIntoView({ block: "nearest" });
}

function compare(index) {
  select(index, false);
  go({ open: shown.rows[index].source });
}

async function open(source) {
  let all;
  try {
    all = await fetched("/api/source", { source });
  } catch (error) {
    byId("status").textContent = `The server does not answer: ${error.message}`;
    return;
  }
  if (state().open !== source) return; // closed meanwhile, or another was opened
  byId("compared").textContent = `Example ${source}`;
  const parts = all.flatMap((rows, run) => rows.map((row) => {
    const part = element("section");
    const where = runs.length > 1 ? `${runs[run].name}: ` : "";
    part.append(element("h3", `${where}${who(row, run)}, ${row.via}`));
    part.append(element("span", row.outcome, `outcome ${row.outcome}`));
    part.append(element("pre", row.prompt), element("pre", `→ ${row.raw}`));
    if (row.answer !== row.raw) part.append(element("pre", `inverted: ${row.answer}`));
    part.append(element("p", `expected: ${row.expected}; ended by ${row.finish}. ${row.flags}`, "about"));
    return part;
  }));
  if (!parts.length) parts.push(element("p", "No run has an answer to it.", "about"));
  byId("versions").replaceChildren(...parts);
  if (!byId("comparison").open) byId("comparison").showModal();
}

function turn(step) {
  const start = Number(state().start || 0);
  if (step > 0 && shown.next !== null) go({ start: String(shown.next) });
  // A search passes over many answers: the page before it is where one came from.
  else if (step < 0 && state().text) history.back();
  else if (step < 0) go({ start: start > N ? String(start - N) : "" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["INPUT", "SELECT"].includes(event.target.tagName) || byId("comparison").open) return;
  const actions = {
    "/": () => byId("filters").elements.text.focus(),
    j: () => select(current + 1), ArrowDown: () => select(current + 1),
    k: () => select(current - 1), ArrowUp: () => select(current - 1),
    Enter: () => current >= 0 && compare(current),
    n: () => turn(1), p: () => turn(-1),
  };
  if (event.key === "Enter" && event.target.tagName === "BUTTON") return;
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
});

byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("next").addEventListener("click", () => turn(1));
byId("previous").addEventListener("click", () => turn(-1));
byId("close").addEventListener("click", () => byId("comparison").close());
byId("comparison").addEventListener("close", () => go({ open: "" }));
window.addEventListener("hashchange", draw);

fetched("/api/runs", {}).then((found) => {
  runs = found;
  byId("title").textContent = `Answers of ${runs.map((run) => run.name).join(" and ")}`;
  draw();
}).catch((error) => {
  byId("status").textContent = `The server does not answer: ${error.message}`;
});

"use strict";
// The table of trials: sorted and filtered here, drawn a page at a time so that thousands of trials open at once.
const PAGE = 100;
const VIEW = { column: "order", descending: false, shown: PAGE };
// Settings that vary have a column each, the most common ones first; the rest stand together in one.
const PARAM_COLUMNS = 12;
const VARYING = (() => {
  const seen = new Map();
  for (const trial of TRIALS) {
    for (const [name, value] of Object.entries(trial.params)) {
      if (!seen.has(name)) seen.set(name, { values: new Set(), count: 0 });
      seen.get(name).values.add(setting(value));
      seen.get(name).count += 1;
    }
  }
  const several = [...seen].filter(([, found]) => found.values.size > 1);
  return several.sort(([, one], [, other]) => other.count - one.count).slice(0, PARAM_COLUMNS).map(([name]) => name);
})();
const otherSettings = (trial) => Object.entries(trial.params).filter(([name]) => !VARYING.includes(name)).map(([name, value]) => `${name}=${setting(value)}`).join(", ");
const numericParam = (name) => TRIALS.every((trial) => trial.params[name] === undefined || trial.params[name] === null || known(trial.params[name]));
const COLUMNS = [
  { id: "number", label: "#", value: (trial) => trial.number, number: true },
  { id: "method", label: "method", value: (trial) => trial.method || "" },
  { id: "state", label: "state", value: (trial) => trial.state },
  ...OBJECTIVES.flatMap((objective) => ["report", "search"].map((half) => ({
    id: `${half}-${objective}`, group: NAMES[objective], label: half === "report" ? "unseen" : "search",
    value: (trial) => measured(trial, objective, half), objective, half, number: true }))),
  ...VARYING.map((name) => ({
    id: `param-${name}`, label: name, number: numericParam(name), param: name, shown: "screen-only",
    value: (trial) => (trial.params[name] === undefined ? null : numericParam(name) ? trial.params[name] : setting(trial.params[name])) })),
  { id: "params", label: "other settings", value: otherSettings, shown: "screen-only" },
  { id: "all-params", label: "settings", value: (trial) => settings(trial), shown: "print-only" },
  ...(SEVERAL_CODES ? [{ id: "code", label: "code", value: (trial) => trial.code }] : []),
  { id: "seconds", label: "time", value: (trial) => trial.seconds, number: true },
];

// Front first, then by the worst of the three objectives: the order of the pictures' importance.
function rank(trial) {
  const values = OBJECTIVES.map((objective) => trial[objective]);
  const measuredAll = values.every(known) && trial.state !== "duplicate";
  return (trial.on_front ? 2 : 0) + (measuredAll ? Math.min(...values) : -1);
}

function wanted(trial) {
  const text = byId("filter-text").value.trim().toLowerCase();
  const method = byId("filter-method").value;
  const state = byId("filter-state").value;
  if (method && trial.method !== method) return false;
  if (state && trial.state !== state) return false;
  if (byId("filter-front").checked && !trial.on_front) return false;
  if (STATE.lasso && !STATE.lasso.has(trial.number)) return false;
  if (!text) return true;
  const words = [trial.number, trial.key, trial.method, trial.state, settings(trial), trial.reason || ""];
  return words.join(" ").toLowerCase().includes(text);
}

function compare(one, other) {
  if (VIEW.column === "order") return rank(other) - rank(one) || one.number - other.number;
  const value = COLUMNS.find((column) => column.id === VIEW.column).value;
  const [first, second] = [value(one), value(other)];
  const [noFirst, noSecond] = [first === null || first === undefined, second === null || second === undefined];
  if (noFirst || noSecond) return noFirst - noSecond || one.number - other.number; // missing values go last either way
  const order = typeof first === "number" ? first - second : String(first).localeCompare(String(second));
  return (VIEW.descending ? -order : order) || one.number - other.number;
}

function drawHead() {
  const groups = element("tr", {});
  const labels = element("tr", {});
  COLUMNS.forEach((column, index) => {
    const starts = column.group && column.group !== (COLUMNS[index - 1] || {}).group;
    const looks = `${column.number ? "number" : ""} ${column.shown || ""} ${column.half ? `of-${column.half}` : ""} of-${column.id}`;
    if (!column.group) groups.append(element("td", { class: `group ${column.shown || ""}` }));
    else if (starts) groups.append(element("th", { class: "group", colspan: 2, scope: "colgroup" }, column.group));
    const sorted = VIEW.column === column.id ? (VIEW.descending ? "descending" : "ascending") : null;
    const short = column.group ? [element("span", { class: "phone-only" }, column.group), element("span", { class: "no-phone" }, column.label)] : [column.label];
    labels.append(element("th", { scope: "col", class: looks, "aria-sort": sorted },
      element("button", { type: "button", onclick: () => sortBy(column) }, ...short)));
  });
  byId("table").tHead.replaceChildren(groups, labels);
}

function sortBy(column) {
  const again = VIEW.column === column.id;
  VIEW.descending = again ? !VIEW.descending : Boolean(column.number && column.id !== "number");
  VIEW.column = column.id;
  VIEW.shown = PAGE;
  drawTable();
}

function cell(trial, column) {
  if (column.objective) {
    const value = column.value(trial);
    const title = known(value) ? null : whyMissing(trial, column.objective);
    const share = `--share:${Math.round(100 * Math.max(0, Math.min(1, value)))}%`;
    const unseen = column.half === "report";
    const looks = { class: `number ${unseen ? "measured" : "other"} of-${column.half}`, title, style: unseen && known(value) ? share : null };
    const high = column.objective === "rob" && known(value) && value > measured(trial, "ue", column.half) + 0.005 && !trial.rob_is_bound;
    const mark = high ? element("span", { class: "warn", title: "Rob above UE: see the trial's details" }, " \u26a0") : null;
    const error = errorText(value, errorOf(trial, column.objective, column.half));
    return element("td", looks, boundText(trial, column.objective, value) + number(value), element("span", { class: "no-phone" }, error), mark);
  }
  if (column.id === "number") {
    const star = trial.on_front ? element("span", { class: "star", title: "on the front" }, "\u2605 ") : null;
    const beyond = trial.cautions.find((text) => text.startsWith("beyond gold"));
    const mark = beyond ? element("span", { class: "warn", title: beyond }, "\u26a0 ") : null;
    return element("td", { class: "number" }, mark, star, String(trial.number));
  }
  if (column.id === "state") {
    const stages = trial.stages_open.join(", ");
    const doing = stages ? `${trial.state}: ${stages}` : trial.infeasible ? `${trial.state}, infeasible` : trial.state;
    return element("td", { class: `of-state state-${trial.state}`, title: trial.reason || trial.infeasible || null }, doing);
  }
  if (column.param) {
    const value = column.value(trial);
    return element("td", { class: `${column.number ? "number" : ""} screen-only` }, value === null ? "\u2013" : setting(value));
  }
  if (column.id === "seconds") return element("td", { class: "number other" }, seconds(trial.seconds));
  if (column.id === "method") {
    const ended = trial.state === "complete" ? null : element("span", { class: `phone-only state-${trial.state}` }, ` ${trial.state}`);
    return element("td", { class: "method" }, column.value(trial), ended);
  }
  return element("td", { class: `${column.id} ${column.shown || ""}` }, column.value(trial));
}

function row(trial) {
  const looks = { tabindex: 0, "data-row": trial.number, class: trial.number === STATE.selected ? "selected" : "" };
  const made = element("tr", looks, ...COLUMNS.map((column) => cell(trial, column)));
  made.addEventListener("click", () => select(trial.number));
  made.addEventListener("keydown", (event) => { if (event.key === "Enter") select(trial.number); });
  made.addEventListener("mouseenter", () => hover(trial.number));
  made.addEventListener("mouseleave", () => hover(null));
  return made;
}

function drawTable() {
  const rows = TRIALS.filter(wanted).sort(compare);
  const shown = rows.slice(0, VIEW.shown);
  drawHead();
  byId("table").tBodies[0].replaceChildren(...shown.map(row));
  byId("table-count").textContent = `${rows.length} of ${TRIALS.length} trials`;
  byId("more").hidden = rows.length <= shown.length;
  byId("more").textContent = `Show ${Math.min(PAGE, rows.length - shown.length)} more of ${rows.length - shown.length}`;
}

function markRow() {
  document.querySelectorAll("#table tr.selected").forEach((one) => one.classList.remove("selected"));
  if (STATE.selected === null) return;
  let found = document.querySelector(`#table tr[data-row="${STATE.selected}"]`);
  if (!found) { // further down: draw as many rows as it takes, if the filters let it through at all
    const place = TRIALS.filter(wanted).sort(compare).findIndex((trial) => trial.number === STATE.selected);
    if (place < 0) return;
    VIEW.shown = Math.ceil((place + 1) / PAGE) * PAGE;
    drawTable();
    found = document.querySelector(`#table tr[data-row="${STATE.selected}"]`);
  }
  found.classList.add("selected");
  const box = found.closest(".scroll"); // scrollIntoView would move the page as well
  const [top, bottom] = [found.offsetTop - box.querySelector("thead").offsetHeight, found.offsetTop + found.offsetHeight];
  if (top < box.scrollTop || bottom > box.scrollTop + box.clientHeight) box.scrollTop = top;
}

// On a phone one half of the rows is shown, the chosen one (page.css).
function markHalf() {
  byId("table").className = `half-${STATE.half}`;
}

function startTable() {
  byId("filter-method").append(...Object.keys(DATA.styles).map((value) => element("option", { value }, value)));
  byId("filter-state").append(...Object.keys(REPORT.counts).map((value) => element("option", { value }, value)));
  const again = () => { VIEW.shown = PAGE; drawTable(); };
  ["filter-text", "filter-method", "filter-state", "filter-front"].forEach((id) => byId(id).addEventListener("input", again));
  byId("more").addEventListener("click", () => { VIEW.shown += PAGE; drawTable(); });
  byId("filter-lasso").addEventListener("click", () => { STATE.lasso = null; tell("lasso"); });
  on("lasso", () => {
    byId("filter-lasso").hidden = !STATE.lasso;
    byId("filter-lasso").textContent = STATE.lasso ? `${STATE.lasso.size} drawn round in a picture \u2715` : "";
    again();
  });
  on("selection", markRow);
  on("half", markHalf);
  markHalf();
  drawTable();
}

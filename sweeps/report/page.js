"use strict";
// The page's state and what the figures and the table share. All text from records reaches the page as text, never as markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const REPORT = DATA.report;
const TRIALS = REPORT.trials;
const BY_NUMBER = new Map(TRIALS.map((trial) => [trial.number, trial]));
const OBJECTIVES = REPORT.objectives;
const SEVERAL_CODES = Object.keys(REPORT.code_versions).length > 1;
const NAMES = { ue: "UE", ut: "UT", rob: "Rob" };
const STATE = { half: DATA.half, selected: null, hovered: null, hidden: new Set(), lasso: null };
const listeners = { selection: [], half: [], hidden: [], lasso: [], theme: [] };

const byId = (id) => document.getElementById(id);
const on = (what, action) => listeners[what].push(action);
const tell = (what) => listeners[what].forEach((action) => action());
const known = (value) => typeof value === "number" && Number.isFinite(value);
const colours = new Map(); // asking for a style once a trace makes the browser work out the page's each time
function themed(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colours.get(name);
}

// How strongly what is off the front is drawn: on a dark page faint colours are lost.
const faint = () => Number(themed("--faint"));

// Draw a section when it comes near the window, or when the page is printed: with thousands of trials the first look
// should not wait for the last picture.
function whenSeen(section, draw) {
  const near = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) once(); }, { rootMargin: "400px" });
  const once = () => { near.disconnect(); removeEventListener("beforeprint", once); draw(); };
  addEventListener("beforeprint", once);
  near.observe(byId(section));
}

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Plotly reads a little markup in texts: with these replaced there is none.
function safe(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function number(value, digits = 3) {
  return known(value) ? value.toFixed(digits) : "\u2013";
}

function setting(value) {
  if (typeof value === "number" && value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2);
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(4)));
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

function settings(trial, separator = ", ") {
  return Object.entries(trial.params).map(([name, value]) => `${name}=${setting(value)}`).join(separator);
}

function seconds(value) {
  if (!known(value)) return "\u2013";
  if (value < 120) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return value < 7200 ? `${(value / 60).toFixed(1)} min` : `${(value / 3600).toFixed(1)} h`;
}

function measured(trial, objective, half = STATE.half) {
  return trial[half === "report" ? `report_${objective}` : objective];
}

function errorOf(trial, objective, half = STATE.half) {
  return (trial.errors || {})[half === "report" ? `report_${objective}` : objective];
}

function errorText(value, error) {
  return known(value) && known(error) ? ` \u00b1 ${number(error)}` : "";
}

function plusMinus(value, error) {
  return number(value) + errorText(value, error);
}

function boundText(trial, objective, value) {
  return objective === "rob" && trial.rob_is_bound && known(value) ? "\u2264 " : "";
}

function measuredText(trial, objective, half = STATE.half) {
  const value = measured(trial, objective, half);
  return boundText(trial, objective, value) + plusMinus(value, errorOf(trial, objective, half));
}

function whyMissing(trial, objective, half = STATE.half) {
  const detail = measured(trial, `${objective}_detail`, half);
  if (detail && detail.reason) return detail.reason;
  if (trial.reason) return trial.reason;
  if (trial.state === "running") return "not measured yet";
  const attack = objective === "rob" ? trial.attacks.find((one) => !known(one.value) && one.reason) : null;
  return attack ? `${attack.attack}: ${attack.reason}` : "the record gives no value and no reason";
}

function select(trialNumber) {
  STATE.selected = STATE.selected === trialNumber ? null : trialNumber;
  history.replaceState(null, "", STATE.selected === null ? location.pathname + location.search : `#trial-${STATE.selected}`);
  tell("selection");
}

// An address that ends in #trial-10 opens that trial.
function openAddress() {
  const found = /^#trial-(\d+)$/.exec(location.hash);
  if (!found || !BY_NUMBER.has(Number(found[1]))) return;
  STATE.selected = null;
  select(Number(found[1]));
  byId("detail").scrollIntoView({ block: "center" });
}

function hover(trialNumber) {
  if (STATE.hovered === trialNumber) return;
  STATE.hovered = trialNumber;
  drawRings();
}

function showDetail() {
  const box = byId("detail");
  const trial = BY_NUMBER.get(STATE.selected);
  box.replaceChildren(...(trial ? detailOf(trial) : []));
}

function detailOf(trial) {
  const close = element("button", { type: "button", style: "float:right", onclick: () => select(trial.number) }, "close");
  const title = `Trial ${trial.number}: ${trial.method || "unknown method"}`;
  const link = element("a", { href: `#trial-${trial.number}`, class: "note" }, ` #trial-${trial.number}`);
  const head = element("h3", {}, title, trial.on_front ? " \u2605 on the front" : trial.infeasible ? " (infeasible)" : "", link);
  const lists = [objectiveList(trial), settingList(trial), attackList(trial), recordList(trial)];
  const notes = trial.cautions.map((text) => element("p", { class: "caution" }, text));
  const columns = element("div", { class: "columns" }, ...lists);
  const why = trial.reason ? element("p", { class: "reason" }, `${trial.state}: ${trial.reason}`) : null;
  const missed = trial.infeasible ? element("p", { class: "reason" }, `infeasible: ${trial.infeasible}`) : null;
  return [close, head, why, missed, ...notes, columns].filter(Boolean);
}

function listed(title, pairs) {
  const list = element("div", {}, element("h3", {}, title));
  for (const [name, value] of pairs) {
    list.append(element("div", {}, element("span", { class: "note" }, `${name}  `), element("code", {}, value)));
  }
  return list;
}

function objectiveList(trial) {
  const rows = OBJECTIVES.map((objective) => {
    const missing = known(trial[objective]) ? "" : ` (${whyMissing(trial, objective)})`;
    const [unseen, searched] = ["report", "search"].map((half) => measuredText(trial, objective, half));
    return [NAMES[objective], `${unseen} unseen rows; ${searched} search rows${missing}`];
  });
  const parts = ["ue", "ut"].flatMap((objective) => (trial[`${objective}_detail`] || {}).parts || []);
  return listed("Objectives", rows.concat(parts.map((part) => [`${part.metric}, ${part.split}`, partText(part)])));
}

function partText(part) {
  if (!known(part.score)) return `\u2013 ${part.reason || ""}`;
  const weight = known(part.weight) ? `, weight ${number(part.weight)}` : "";
  return `${number(part.score)} (value ${number(part.value)}, original ${number(part.original)}, gold ${number(part.gold)}${weight})`;
}

function settingList(trial) {
  return listed("Settings", Object.entries(trial.params).map(([name, value]) => [name, setting(value)]).concat([["seed", String(trial.seed)]]));
}

function attackList(trial) {
  const none = trial.state === "running" ? "not attacked yet" : "no attack was run";
  if (!trial.attacks.length) return listed("Attacks", [["none", none]]);
  return listed("Attacks: forgetting left", trial.attacks.map((attack) => [attack.attack, attackText(attack)]));
}

function attackText(attack) {
  if (!known(attack.value)) return `${attack.skipped ? "skipped" : "no value"}${attack.reason ? `: ${attack.reason}` : ""}`;
  return `${plusMinus(attack.report_value, attack.report_standard_error)} unseen rows; ${plusMinus(attack.value, attack.standard_error)} search rows; utility ${number(attack.utility)}`;
}

function recordList(trial) {
  const took = (stage, value) => (trial.reused_stages.includes(stage) ? "reused" : seconds(value));
  const stages = Object.entries(trial.stage_seconds).map(([stage, value]) => [stage, took(stage, value)]);
  const rows = [["key", trial.key || "\u2013"], ["state", trial.state], ["wall time", seconds(trial.seconds)]].concat(stages);
  if (trial.model_path) rows.push(["model", trial.model_path]);
  if (known(trial.code) && SEVERAL_CODES) rows.push(["code", trial.code]);
  if (known(trial.duplicate_of)) rows.push(["same as trial", String(trial.duplicate_of)]);
  return listed("Record", rows);
}

function choose(box, values, chosen) {
  box.replaceChildren(...values.map((value) => element("option", { value, selected: value === chosen }, value)));
}

function start() {
  document.querySelectorAll("input[name=half]").forEach((radio) => {
    radio.checked = radio.value === STATE.half;
    radio.addEventListener("change", () => { STATE.half = radio.value; tell("half"); });
  });
  const show = (trialNumber) => { STATE.selected = null; select(trialNumber); byId("front").scrollIntoView(); };
  document.querySelectorAll("[data-trial]").forEach((card) => card.addEventListener("click", () => show(Number(card.dataset.trial))));
  document.querySelectorAll("[data-needs]").forEach((one) => { one.hidden = !OBJECTIVES.includes(one.dataset.needs); });
  on("selection", showDetail);
  startTable();
  startFigures();
  addEventListener("hashchange", openAddress);
  openAddress();
  addEventListener("keydown", (event) => { if (event.key === "Escape" && STATE.selected !== null) select(STATE.selected); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colours.clear(); tell("theme"); });
}

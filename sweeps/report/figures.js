"use strict";
// The figures of the front and of the search. Marks carry the trial's number, so that a click or a hover shows in all.
const PAIRS = [["ue", "ut"], ["ue", "rob"], ["ut", "rob"]];
const PROJECTIONS = PAIRS.filter((pair) => pair.every((name) => OBJECTIVES.includes(name)));
const AXES = { ue: "UE \u2013 forgetting", ut: "UT \u2013 utility kept", rob: "Rob \u2013 left under attack" };
const KINDS = ["other", "bound", "front"];
const MANY = 1500;
// plotly.js offers to send a chart to its makers' server unless told otherwise.
const CONFIG = {
  displaylogo: false,
  responsive: true,
  showSendToCloud: false,
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["autoScale2d", "zoomIn2d", "zoomOut2d", "select2d", "lasso2d"],
};
const FRONT_CONFIG = { ...CONFIG, modeBarButtonsToRemove: ["autoScale2d", "zoomIn2d", "zoomOut2d"] };
const plotId = ([x, y]) => `plot-${x}-${y}`;

function layout(extra) {
  const grid = themed("--grid");
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: themed("--ink"), size: 12, family: "system-ui, sans-serif" },
    margin: { l: 48, r: 12, t: 36, b: 44 },
    showlegend: false,
    hovermode: "closest",
    hoverlabel: { align: "left", font: { size: 12 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: themed("--soft"), activecolor: themed("--accent") },
    ...extra,
    xaxis: { ...axis, ...(extra.xaxis || {}) },
    yaxis: { ...axis, ...(extra.yaxis || {}) },
  };
}

function titled(text) {
  return { text: safe(text), font: { size: 14 }, x: 0, xref: "paper", xanchor: "left", y: 0.985, yanchor: "top" };
}

const hoverTexts = new Map();

function hoverText(trial) {
  const key = `${STATE.half} ${trial.number}`;
  if (!hoverTexts.has(key)) hoverTexts.set(key, madeHoverText(trial));
  return hoverTexts.get(key);
}

function madeHoverText(trial) {
  const values = OBJECTIVES.map((objective) => `${NAMES[objective]} ${measuredText(trial, objective)}`).join("  ");
  const pairs = Object.entries(trial.params).slice(0, 12);
  const settingLines = pairs.map(([name, value]) => safe(`${name} = ${setting(value)}`.slice(0, 80)));
  const notes = [trial.on_front ? "on the front" : "", ...trial.cautions.map((text) => safe(text.split(/[:;]/)[0])), trial.infeasible ? "infeasible" : "", trial.rob_is_bound ? "Rob is an upper bound" : ""];
  const marks = notes.filter(Boolean).join(", ");
  const head = `<b>${safe(trial.number)} ${safe(trial.method)}</b>${marks ? ` (${marks})` : ""}`;
  return [head, values, ...settingLines].join("<br>");
}

function kindOf(trial) {
  return trial.on_front ? "front" : trial.rob_is_bound ? "bound" : "other";
}

function marker(style, kind) {
  const edges = {
    front: { color: themed("--ink"), width: 1.6 },
    bound: { color: style.colour, width: 1.6 },
    other: { color: style.colour, width: 0 },
  };
  return {
    symbol: style.symbol + (kind === "bound" ? "-open" : ""),
    size: kind === "front" ? 13 : TRIALS.length > MANY ? 5 : 8,
    color: style.colour,
    opacity: kind === "other" ? 1.3 * faint() : 1,
    line: edges[kind],
  };
}

function marks(x, y) {
  const placed = TRIALS.filter((trial) => trial.state !== "duplicate" && known(measured(trial, x)) && known(measured(trial, y)));
  const traces = [];
  for (const kind of KINDS) {
    for (const [method, style] of Object.entries(DATA.styles)) {
      const chosen = placed.filter((trial) => trial.method === method && kindOf(trial) === kind);
      if (!chosen.length || STATE.hidden.has(method)) continue;
      traces.push({
        type: "scatter",
        mode: "markers",
        x: chosen.map((trial) => measured(trial, x)),
        y: chosen.map((trial) => measured(trial, y)),
        customdata: chosen.map((trial) => trial.number),
        text: chosen.map(hoverText),
        hovertemplate: "%{text}<extra></extra>",
        marker: marker(style, kind),
        ...(kind === "front" ? errorBars(chosen, x, y) : {}),
      });
    }
  }
  return traces;
}

// One standard error, on the half that is shown.
function errorBars(trials, x, y) {
  const bars = (objective) => {
    const array = trials.map((trial) => errorOf(trial, objective) || 0);
    return { type: "data", array, visible: array.some((value) => value > 0), thickness: 1, width: 0, color: themed("--soft") };
  };
  return { error_x: bars(x), error_y: bars(y) };
}

function staircase(x, y) {
  const steps = DATA.staircases[STATE.half][`${x}-${y}`];
  return {
    type: "scatter",
    mode: "lines",
    x: steps.map((step) => step[0]),
    y: steps.map((step) => step[1]),
    hoverinfo: "skip",
    line: { color: themed("--soft"), width: 1.4, dash: "dot" },
  };
}

function controlMarks(x, y) {
  if (!REPORT.controls) return [];
  const rob = { original: 0, gold: 1 }; // the two ends of that scale
  const traces = ["original", "gold"].map((name) => {
    const control = REPORT.controls[name];
    const place = { ue: control.ue, ut: control.ut, rob: rob[name] };
    const values = `UE ${number(control.ue)}  UT ${number(control.ut)}  Rob ${rob[name]} by definition`;
    return {
      type: "scatter",
      mode: "markers+text",
      x: [place[x]],
      y: [place[y]],
      text: [name],
      textposition: place[y] > 0.5 ? "bottom center" : "top center",
      textfont: { color: themed("--soft"), size: 11 },
      hovertext: [`<b>${name} model</b><br>${values}`],
      hovertemplate: "%{hovertext}<extra></extra>",
      cliponaxis: false,
      marker: { symbol: name === "gold" ? "star" : "x", size: 13, color: themed("--soft"), line: { color: themed("--ink"), width: 1 } },
    };
  });
  return traces.filter((trace) => known(trace.x[0]) && known(trace.y[0]));
}

function drawFront() {
  const axis = (objective) => ({ title: { text: AXES[objective] }, range: [-0.06, 1.08], dtick: 0.2 });
  for (const [x, y] of PROJECTIONS) {
    const traces = [staircase(x, y), ...controlMarks(x, y), ...marks(x, y)];
    const title = titled(`${NAMES[x]} and ${NAMES[y]}`);
    Plotly.react(plotId([x, y]), traces, layout({ xaxis: axis(x), yaxis: axis(y), title, shapes: rings(x, y) }), FRONT_CONFIG);
  }
  const scored = TRIALS.filter((trial) => trial.state !== "duplicate");
  const missing = scored.filter((trial) => !OBJECTIVES.every((objective) => known(measured(trial, objective)))).length;
  byId("front-note").textContent = `Measured on the rows the search ${STATE.half === "report" ? "never saw" : "used"}. Large outlined marks are on the front, hollow ones have an upper bound for Rob, bars are one standard error. `
    + "Click a mark to keep it marked everywhere; draw round marks with the lasso to filter the table."
    + (missing ? ` ${missing} of ${scored.length} trials lack an objective here, so a picture or all of them miss them.` : "");
}

function rings(x, y) {
  const looks = [[STATE.hovered, themed("--soft"), 2], [STATE.selected, themed("--accent"), 3]];
  return looks.flatMap(([which, color, width]) => {
    const trial = BY_NUMBER.get(which);
    if (!trial || !known(measured(trial, x)) || !known(measured(trial, y))) return [];
    const around = { xsizemode: "pixel", ysizemode: "pixel", x0: -11, x1: 11, y0: -11, y1: 11 };
    return [{ type: "circle", ...around, xanchor: measured(trial, x), yanchor: measured(trial, y), line: { color, width } }];
  });
}

// Only the rings are drawn anew: cheap with thousands of marks.
function drawRings() {
  PROJECTIONS.forEach(([x, y]) => Plotly.relayout(plotId([x, y]), { shapes: rings(x, y) }));
}

function linked(id) {
  const trialOf = (event) => event.points[0].customdata;
  byId(id).on("plotly_click", (event) => { if (known(trialOf(event))) select(trialOf(event)); });
  byId(id).on("plotly_hover", (event) => hover(known(trialOf(event)) ? trialOf(event) : null));
  byId(id).on("plotly_unhover", () => hover(null));
}

function lassoed(id) {
  byId(id).on("plotly_selected", (event) => {
    const numbers = event ? event.points.map((point) => point.customdata).filter(known) : [];
    STATE.lasso = numbers.length ? new Set(numbers) : null;
    tell("lasso");
  });
}

const LEGEND_SHAPES = {
  circle: "M6.5 1a5.5 5.5 0 1 0 .01 0z",
  square: "M2 2h9v9h-9z",
  diamond: "M6.5 .5l6 6-6 6-6-6z",
  "triangle-up": "M6.5 1l6 11h-12z",
  pentagon: "M6.5 .8l6 4.4-2.3 7h-7.4l-2.3-7z",
  "triangle-down": "M6.5 12l6-11h-12z",
  hexagon: "M6.5 .5l5.6 3v6l-5.6 3-5.6-3v-6z",
};

function legendMark(style) {
  const drawn = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);
  const [mark, path] = [drawn("svg"), drawn("path")];
  mark.setAttribute("viewBox", "0 0 13 13");
  path.setAttribute("d", LEGEND_SHAPES[style.symbol]);
  path.setAttribute("fill", style.colour);
  mark.append(path);
  return mark;
}

function drawLegend() {
  const toggle = (method) => { if (!STATE.hidden.delete(method)) STATE.hidden.add(method); tell("hidden"); };
  byId("legend").replaceChildren(...Object.entries(DATA.styles).map(([method, style]) => {
    const shown = String(!STATE.hidden.has(method));
    return element("button", { type: "button", "aria-pressed": shown, onclick: () => toggle(method) }, legendMark(style), method);
  }));
}

// On paper two figures stand side by side, in light colours.
const PAPER = { width: 330, height: 300, whole: 680 };
const WHOLE = ["plot-heat", "plot-parallel"]; // these take the whole width

function onPaper() {
  colours.clear();
  tell("theme");
  document.querySelectorAll(".js-plotly-plot").forEach((plot) => {
    const whole = WHOLE.includes(plot.id);
    Plotly.relayout(plot, { autosize: false, width: whole ? PAPER.whole : PAPER.width, height: whole ? plot.layout.height || plot.offsetHeight : PAPER.height });
  });
}

function onScreen() {
  colours.clear();
  tell("theme");
  document.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.relayout(plot, { autosize: true, width: null, height: null }));
}

function startFigures() {
  drawLegend();
  drawFront();
  PROJECTIONS.map(plotId).forEach((id) => { linked(id); lassoed(id); });
  on("half", drawFront);
  on("hidden", () => { drawLegend(); drawFront(); });
  on("selection", drawRings);
  on("theme", drawFront);
  whenSeen("attacks", startAttacks);
  if (DATA.answers && DATA.answers.rows.length) whenSeen("answers", startAnswers);
  whenSeen("settings", startSettings);
  whenSeen("time", startTime);
  whenSeen("training", startTraining);
  addEventListener("beforeprint", onPaper);
  addEventListener("afterprint", onScreen);
}

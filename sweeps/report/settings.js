"use strict";
// The objectives against one setting of one method, and over two of them.
const FEWEST_FOR_CONTOUR = 6;
const GRID = 36;

function valuesOf(trials, param) {
  return trials.map((trial) => trial.params[param]).filter((value) => value !== undefined && value !== null);
}

const trialsOf = (method) => TRIALS.filter((trial) => trial.method === method && trial.state !== "duplicate");

// How values lie on an axis: kind "log", "linear" or "category", and `at` from a value to a place from 0 to 1.
function scaleOf(values) {
  const numeric = values.length > 0 && values.every(known);
  if (!numeric) {
    const names = [...new Set(values.map(setting))].sort();
    return { kind: "category", names, at: (value) => (names.length < 2 ? 0.5 : names.indexOf(setting(value)) / (names.length - 1)) };
  }
  const [low, high] = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  const log = low > 0 && high / low > 8;
  const place = log ? Math.log : Number;
  const width = place(high) - place(low);
  const back = (share) => (log ? Math.exp(place(low) + share * width) : low + share * width);
  return { kind: log ? "log" : "linear", low, high, back, at: (value) => (width > 0 ? (place(value) - place(low)) / width : 0.5) };
}

function drawSetting() {
  const [method, param] = [byId("setting-method").value, byId("setting-param").value];
  const trials = trialsOf(method).filter((trial) => trial.params[param] !== undefined);
  const scale = scaleOf(valuesOf(trials, param));
  const place = (trial) => (scale.kind === "category" ? safe(setting(trial.params[param])) : trial.params[param]);
  const xaxis = { title: { text: safe(param || "no setting varies") }, type: scale.kind, exponentformat: "e", minexponent: 3 };
  for (const objective of OBJECTIVES) {
    const traces = KINDS.map((kind) => {
      const shown = trials.filter((trial) => known(measured(trial, objective)) && kindOf(trial) === kind);
      return {
        type: "scatter",
        mode: "markers",
        x: shown.map(place),
        y: shown.map((trial) => measured(trial, objective)),
        customdata: shown.map((trial) => trial.number),
        text: shown.map(hoverText),
        hovertemplate: "%{text}<extra></extra>",
        marker: marker(DATA.styles[method], kind),
      };
    });
    const look = { title: titled(AXES[objective]), xaxis, yaxis: { range: [-0.05, 1.08] } };
    Plotly.react(`plot-setting-${objective}`, traces, layout(look), CONFIG);
  }
}

// A mean of the trials around each place of a grid, weighted by a Gaussian of their distance; null where none is near.
function smoothed(points) {
  const width = Math.max(0.08, 0.5 * points.length ** (-1 / 3));
  const shares = Array.from({ length: GRID }, (_, index) => index / (GRID - 1));
  return shares.map((v) => shares.map((u) => {
    let [sum, weight, nearest] = [0, 0, Infinity];
    for (const point of points) {
      const distance = (point.u - u) ** 2 + (point.v - v) ** 2;
      const share = Math.exp(-distance / (2 * width ** 2));
      nearest = Math.min(nearest, distance);
      sum += share * point.z;
      weight += share;
    }
    return nearest > (1.2 * width) ** 2 ? null : sum / weight;
  }));
}

function contourTraces(trials, objective, across, up, bar) {
  const [x, y] = [scaleOf(valuesOf(trials, across)), scaleOf(valuesOf(trials, up))];
  const shares = Array.from({ length: GRID }, (_, index) => index / (GRID - 1));
  const points = trials.map((trial) => ({ u: x.at(trial.params[across]), v: y.at(trial.params[up]), z: measured(trial, objective) }));
  const colours = { colorscale: "Viridis", zmin: 0, zmax: 1, cmin: 0, cmax: 1 };
  const field = {
    type: "contour",
    x: shares.map(x.back),
    y: shares.map(y.back),
    z: smoothed(points),
    ...colours,
    contours: { start: 0, end: 1, size: 0.1, coloring: "heatmap" },
    line: { width: 0.5, color: themed("--ground") },
    opacity: 0.75,
    hoverinfo: "skip",
    showscale: bar,
    colorbar: { thickness: 12 },
  };
  const dots = {
    type: "scatter",
    mode: "markers",
    x: trials.map((trial) => trial.params[across]),
    y: trials.map((trial) => trial.params[up]),
    customdata: trials.map((trial) => trial.number),
    text: trials.map(hoverText),
    hovertemplate: "%{text}<extra></extra>",
    marker: { size: trials.map((trial) => (trial.on_front ? 12 : 8)), color: points.map((point) => point.z), ...colours, line: { color: themed("--ink"), width: 1.2 } },
  };
  const axis = (name, scale) => ({ title: { text: safe(name) }, type: scale.kind, exponentformat: "e", minexponent: 3 });
  return [[field, dots], { xaxis: axis(across, x), yaxis: axis(up, y) }];
}

function drawContours() {
  const [method, across, up] = [byId("setting-method").value, byId("setting-param").value, byId("setting-other").value];
  const both = trialsOf(method).filter((trial) => known(trial.params[across]) && known(trial.params[up]));
  const sure = (objective) => both.filter((trial) => known(measured(trial, objective)) && !(objective === "rob" && trial.rob_is_bound));
  const drawn = up && across !== up ? OBJECTIVES.filter((objective) => sure(objective).length >= FEWEST_FOR_CONTOUR) : [];
  byId("contours").hidden = !drawn.length;
  for (const objective of OBJECTIVES) {
    byId(`plot-contour-${objective}`).hidden = !drawn.includes(objective);
    if (!drawn.includes(objective)) continue;
    const [traces, axes] = contourTraces(sure(objective), objective, across, up, objective === drawn[drawn.length - 1]);
    Plotly.react(`plot-contour-${objective}`, traces, layout({ title: titled(AXES[objective]), ...axes }), CONFIG);
    if (!CONTOURS_LINKED.has(objective)) { linked(`plot-contour-${objective}`); CONTOURS_LINKED.add(objective); }
  }
  byId("contour-note").textContent = drawn.length
    ? "Dots are trials in the colour of their value; the field is the mean of the trials around each place, nearer ones counting more, and blank where none is near. It is drawn for the eye and predicts nothing. Upper bounds are left out."
    : `Drawn from ${FEWEST_FOR_CONTOUR} trials of a method on, over two of its settings that are numbers and vary: ${both.length} trials of ${method} have ${across && up && across !== up ? `${across} and ${up}` : "such settings"}.`;
}

const CONTOURS_LINKED = new Set();

function varyingParams(trials) {
  const names = [...new Set(trials.flatMap((trial) => Object.keys(trial.params)))];
  return names.filter((name) => new Set(valuesOf(trials, name).map(setting)).size > 1);
}

function chooseParams() {
  const trials = trialsOf(byId("setting-method").value);
  const varying = varyingParams(trials);
  const names = varying.length ? varying : [...new Set(trials.flatMap((trial) => Object.keys(trial.params)))];
  choose(byId("setting-param"), names, names[0]);
  chooseOther();
}

// The second setting of the contours: any other of the method that is a number and varies.
function chooseOther() {
  const trials = trialsOf(byId("setting-method").value);
  const first = byId("setting-param").value;
  const numbers = varyingParams(trials).filter((name) => name !== first && valuesOf(trials, name).every(known));
  const before = byId("setting-other").value;
  choose(byId("setting-other"), numbers, numbers.includes(before) ? before : numbers[0]);
}

function startSettings() {
  const methods = Object.keys(DATA.styles);
  byId("settings").hidden = !methods.length;
  if (!methods.length) return;
  const draw = () => { drawSetting(); drawContours(); };
  const best = TRIALS.slice().sort((one, other) => rank(other) - rank(one))[0];
  choose(byId("setting-method"), methods, best.method || methods[0]);
  chooseParams();
  byId("setting-method").addEventListener("input", () => { chooseParams(); draw(); });
  byId("setting-param").addEventListener("input", () => { chooseOther(); draw(); });
  byId("setting-other").addEventListener("input", drawContours);
  draw();
  OBJECTIVES.forEach((objective) => linked(`plot-setting-${objective}`));
  on("half", draw);
  on("theme", draw);
  startParallel();
}

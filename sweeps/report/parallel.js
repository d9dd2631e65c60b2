"use strict";
// Parallel coordinates: one line a trial over an axis for each setting and objective. Drawn with marks and lines, since
// plotly's own kind compiles code, which the page's policy forbids.
const AXIS_WIDTH = 130;
const TICKS_SHOWN = 7;

function parallelTrials() {
  const method = byId("parallel-method").value;
  const chosen = method ? trialsOf(method) : TRIALS.filter((trial) => trial.state !== "duplicate");
  return chosen.filter((trial) => !STATE.hidden.has(trial.method) && OBJECTIVES.some((objective) => known(measured(trial, objective))));
}

// Settings that vary and that every shown method has, then the objectives.
function parallelAxes(trials) {
  const methods = [...new Set(trials.map((trial) => trial.method))];
  const has = (trial, name) => trial.params[name] !== undefined && trial.params[name] !== null;
  const everywhere = (name) => methods.every((method) => trials.some((trial) => trial.method === method && has(trial, name)));
  const axes = varyingParams(trials).filter(everywhere).map((name) => {
    const scale = scaleOf(valuesOf(trials, name));
    return { label: name, at: (trial) => (has(trial, name) ? scale.at(trial.params[name]) : null), ticks: axisTicks(scale) };
  });
  if (methods.length > 1) {
    const scale = scaleOf(methods);
    axes.unshift({ label: "method", at: (trial) => scale.at(trial.method), ticks: axisTicks(scale) });
  }
  const ends = [0, 0.5, 1].map((share) => [share, String(share)]);
  return [...axes, ...OBJECTIVES.map((objective) => ({
    label: NAMES[objective], ticks: ends, at: (trial) => (known(measured(trial, objective)) ? measured(trial, objective) : null),
  }))];
}

function axisTicks(scale) {
  if (scale.kind === "category") {
    return scale.names.length > TICKS_SHOWN ? [] : scale.names.map((name, index) => [scale.names.length < 2 ? 0.5 : index / (scale.names.length - 1), name]);
  }
  const short = (value) => (value !== 0 && (Math.abs(value) < 1e-2 || Math.abs(value) >= 1e4) ? value.toExponential(1) : String(Number(value.toPrecision(2))));
  return [0, 0.5, 1].map((share) => [share, short(scale.back(share))]);
}

// All lines of one look in one trace, with gaps between them: hundreds of traces are slow.
function parallelTrace(trials, axes, looks) {
  const gap = (values) => [...values, null];
  return {
    type: "scatter",
    mode: "lines+markers",
    x: trials.flatMap(() => gap(axes.map((_, place) => place))),
    y: trials.flatMap((trial) => gap(axes.map((axis) => axis.at(trial)))),
    customdata: trials.flatMap((trial) => gap(axes.map(() => trial.number))),
    text: trials.flatMap((trial) => gap(axes.map(() => hoverText(trial)))),
    hovertemplate: "%{text}<extra></extra>",
    ...looks,
  };
}

function drawParallel() {
  const trials = parallelTrials();
  const axes = parallelAxes(trials);
  const level = (trial) => (trial.number === STATE.selected ? 3 : STATE.lasso ? (STATE.lasso.has(trial.number) ? 2 : 0) : trial.on_front ? 2 : 1);
  const traces = [0, 1, 2, 3].flatMap((wanted) => Object.entries(DATA.styles).map(([method, style]) => {
    const own = trials.filter((trial) => trial.method === method && level(trial) === wanted);
    const opacity = [0.08, 0.8 * faint(), 1, 1][wanted];
    const color = wanted === 3 ? themed("--accent") : style.colour;
    return own.length ? parallelTrace(own, axes, { opacity, line: { color, width: [1, 1, 1.8, 4][wanted] }, marker: { color, size: wanted > 1 ? 6 : 4 } }) : null;
  })).filter(Boolean);
  const upright = axes.map((_, place) => ({ type: "line", layer: "below", x0: place, x1: place, y0: 0, y1: 1, line: { color: themed("--soft"), width: 1 } }));
  const labels = axes.flatMap((axis, place) => axis.ticks.map(([y, text]) => ({
    x: place, y, text: safe(text.slice(0, 16)), showarrow: false, xanchor: "left", xshift: 6, font: { size: 11 }, bgcolor: themed("--ground"), opacity: 0.85,
  })));
  byId("plot-parallel").style.minWidth = `${AXIS_WIDTH * axes.length}px`;
  const look = {
    xaxis: { range: [-0.15, axes.length - 0.35], tickvals: axes.map((_, place) => place), ticktext: axes.map((axis) => safe(axis.label.slice(0, 22))), side: "top", showgrid: false, zeroline: false, fixedrange: true },
    yaxis: { range: [-0.06, 1.06], visible: false, fixedrange: true },
    margin: { l: 12, r: 30, t: 40, b: 12 },
    dragmode: "select",
    shapes: upright,
    annotations: labels,
  };
  Plotly.react("plot-parallel", traces, layout(look), { ...CONFIG, modeBarButtonsToRemove: [...CONFIG.modeBarButtonsToRemove, "zoom2d", "pan2d", "resetScale2d"] });
  byId("parallel-clear").hidden = !STATE.lasso;
  byId("parallel-note").textContent = "Each line is a trial in its method's colour, strong on the front; settings are on the scale in which they spread, higher is more. "
    + "Draw a box over a part of an axis to keep the lines that cross it, here and in the table; a line that ends has no value there.";
}

// A box keeps the lines that cross it. Drawing anew takes the box away, which plotly reports as well: that is no wish.
function boxed(id) {
  const keep = (numbers) => { STATE.lasso = numbers; setTimeout(() => tell("lasso")); };
  byId(id).on("plotly_selected", (event) => {
    const numbers = event ? event.points.map((point) => point.customdata).filter(known) : [];
    if (numbers.length) keep(new Set(numbers));
  });
  byId(id).on("plotly_doubleclick", () => keep(null));
}

function startParallel() {
  byId("parallel-method").append(...Object.keys(DATA.styles).map((value) => element("option", { value }, value)));
  byId("parallel-method").addEventListener("input", drawParallel);
  byId("parallel-clear").addEventListener("click", () => { STATE.lasso = null; tell("lasso"); });
  drawParallel();
  linked("plot-parallel");
  boxed("plot-parallel");
  ["half", "hidden", "theme", "selection", "lasso"].forEach((what) => on(what, drawParallel));
}

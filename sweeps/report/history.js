"use strict";
// How the search went: each objective by trial, hypervolume, seconds by stage; and the loss curves of the trainings.
function bestSoFar(trials, objective) {
  let best = -Infinity;
  return trials.map((trial) => { best = Math.max(best, measured(trial, objective)); return best; });
}

function drawHistory() {
  const counted = TRIALS.filter((trial) => trial.state !== "duplicate").sort((one, other) => one.number - other.number);
  for (const objective of OBJECTIVES) {
    const shown = counted.filter((trial) => known(measured(trial, objective)));
    const sure = shown.filter((trial) => !(objective === "rob" && trial.rob_is_bound) && !trial.infeasible);
    const line = {
      type: "scatter",
      mode: "lines",
      x: sure.map((trial) => trial.number),
      y: bestSoFar(sure, objective),
      line: { shape: "hv", color: themed("--soft"), width: 1.6 },
      hovertemplate: "best up to trial %{x}: %{y:.3f}<extra></extra>",
    };
    const traces = Object.entries(DATA.styles).flatMap(([method, style]) => KINDS.map((kind) => {
      const own = STATE.hidden.has(method) ? [] : shown.filter((trial) => trial.method === method && kindOf(trial) === kind);
      return {
        type: "scatter",
        mode: "markers",
        x: own.map((trial) => trial.number),
        y: own.map((trial) => measured(trial, objective)),
        customdata: own.map((trial) => trial.number),
        text: own.map(hoverText),
        hovertemplate: "%{text}<extra></extra>",
        marker: { ...marker(style, kind), size: kind === "front" ? 10 : TRIALS.length > MANY ? 4 : 7 },
      };
    })).filter((trace) => trace.x.length);
    const few = counted.length < 10 ? { dtick: 1 } : {};
    const look = { title: titled(AXES[objective]), xaxis: { title: { text: "trial" }, ...few }, yaxis: { range: [-0.05, 1.08] } };
    Plotly.react(`plot-history-${objective}`, [line, ...traces], layout(look), CONFIG);
  }
  byId("history-note").textContent = `Each trial in the order of asking, measured on the rows the search ${STATE.half === "report" ? "never saw" : "used"}. `
    + "The line is the best value of that objective so far, of feasible trials and without upper bounds; one trial seldom has all three.";
}

function drawVolume() {
  const curve = REPORT.hypervolume_curve;
  byId("plot-volume").hidden = !curve.length;
  if (!curve.length) return;
  const trace = {
    type: "scatter",
    mode: "lines",
    line: { shape: "hv", width: 2.5, color: themed("--accent") },
    x: curve.map((point) => point[0]),
    y: curve.map((point) => point[1]),
    hovertemplate: "%{x} trials: %{y:.4f}<extra></extra>",
  };
  const axes = { xaxis: { title: { text: "settled trials" }, rangemode: "tozero", ...(curve.length < 10 ? { dtick: 1 } : {}) }, yaxis: { rangemode: "tozero" } };
  Plotly.react("plot-volume", [trace], layout({ title: titled("Hypervolume of the front"), ...axes }), CONFIG);
}

function drawStages() {
  const stages = REPORT.stages.filter((one) => one.seconds + one.failed_seconds > 0).slice(0, 15).reverse();
  const names = stages.map((one) => safe(one.stage + (one.preparation ? " (preparation)" : "")));
  const bar = (field, color, word) => ({
    type: "bar",
    orientation: "h",
    marker: { color },
    y: names,
    x: stages.map((one) => one[field]),
    hovertemplate: `%{y}: %{x:.1f} s ${word}<extra></extra>`,
  });
  const bars = [bar("seconds", themed("--accent"), "finished"), bar("failed_seconds", themed("--bad"), "failed")];
  const axes = { barmode: "stack", xaxis: { title: { text: "seconds" } } };
  Plotly.react("plot-stages", bars, layout({ title: titled("Seconds by stage"), ...axes }), CONFIG);
}

function startTime() {
  const draw = () => { drawHistory(); drawVolume(); drawStages(); };
  draw();
  OBJECTIVES.forEach((objective) => linked(`plot-history-${objective}`));
  on("half", drawHistory);
  on("hidden", drawHistory);
  on("theme", draw);
}

const TRAINED = TRIALS.filter((trial) => trial.training && trial.state !== "duplicate");
const SIDES = ["left", "right"];

// The names of all terms, the ones that most trials have first.
function trainingTerms() {
  const counts = new Map();
  for (const trial of TRAINED) {
    for (const [name, values] of Object.entries(trial.training.terms)) {
      if (values.some(known)) counts.set(name, (counts.get(name) || 0) + 1);
    }
  }
  return [...counts].sort(([, one], [, other]) => other - one).map(([name]) => name);
}

function trainingLine(trial, term) {
  const emphasis = trial.number === STATE.selected ? 2 : trial.on_front ? 1 : 0;
  const style = DATA.styles[trial.method] || { colour: themed("--soft") };
  const { steps, terms } = trial.training;
  return {
    type: "scatter",
    mode: "lines",
    x: steps,
    y: terms[term],
    customdata: steps.map(() => trial.number),
    text: steps.map(() => hoverText(trial)),
    opacity: emphasis ? 1 : faint(),
    line: { color: style.colour, width: 1 + 1.4 * emphasis },
    hovertemplate: "step %{x}: %{y:.4g}<br>%{text}<extra></extra>",
  };
}

function drawTraining() {
  const emphasis = (trial) => (trial.number === STATE.selected ? 2 : trial.on_front ? 1 : 0);
  const drawn = TRAINED.filter((trial) => !STATE.hidden.has(trial.method)).sort((one, other) => emphasis(one) - emphasis(other));
  const means = [];
  for (const side of SIDES) {
    const term = byId(`training-${side}`).value;
    const own = drawn.filter((trial) => trial.training.terms[term]);
    const conventions = [...new Set(own.map((trial) => trial.training.conventions[term]).filter(Boolean))];
    if (conventions.length) means.push(`${term}: ${conventions.length === 1 ? conventions[0] : "means of different things in different methods, see each trial's record"}.`);
    const look = { title: titled(term.replace(/_/g, " ")), xaxis: { title: { text: "optimizer step" } }, yaxis: { exponentformat: "e", minexponent: 3 } };
    Plotly.react(`plot-training-${side}`, own.map((trial) => trainingLine(trial, term)), layout(look), CONFIG);
  }
  byId("training-note").textContent = "Strong lines are on the front. Terms of a loss belong to their method: compare lines of one colour. Up to 40 points a training. "
    + `${means.join(" ")}${DATA.curves_left_out ? ` Curves of ${DATA.curves_left_out} further trials are left out of the page; report.json has them.` : ""}`;
}

function startTraining() {
  const terms = trainingTerms();
  byId("training-none").hidden = terms.length > 0;
  byId("training-box").hidden = !terms.length;
  if (!terms.length) return;
  const first = terms.find((name) => name.endsWith("cross_entropy")) || terms[0];
  const second = terms.find((name) => name === "retain" && name !== first) || terms.find((name) => name !== first) || first;
  [first, second].forEach((chosen, place) => {
    choose(byId(`training-${SIDES[place]}`), terms, chosen);
    byId(`training-${SIDES[place]}`).addEventListener("input", drawTraining);
  });
  drawTraining();
  SIDES.forEach((side) => linked(`plot-training-${side}`));
  ["selection", "hidden", "theme"].forEach((what) => on(what, drawTraining));
}

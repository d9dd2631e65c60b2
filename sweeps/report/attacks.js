"use strict";
// Attack by attack: the heat map of all, and the curves of one over its strength.
const ATTACKS = [...new Set(TRIALS.flatMap((trial) => trial.attacks.map((attack) => attack.attack)))];
const ATTACKED = TRIALS.filter((trial) => trial.attacks.length && trial.state !== "duplicate");
const HEAT_ROWS = 60;

const attackOf = (trial, name) => trial.attacks.find((attack) => attack.attack === name);
const leftOf = (attack) => (STATE.half === "report" ? attack.report_value : attack.value);
const pointsOf = (trial, name) => {
  const attack = attackOf(trial, name) || { curve: [] };
  const curve = attack.curve.map((point, place) => ({ ...point, unseen: (attack.report_left || [])[place] }));
  return rises(curve) ? [beforeAttack(trial, curve[0].unit), ...curve] : curve;
};
const allPoints = (name) => TRIALS.flatMap((trial) => pointsOf(trial, name));

// Curves over a strength that grows from above 0 begin at 0, with what was measured before the attack.
function rises(curve) {
  return curve.length > 1 && curve[0].strength > 0 && curve[curve.length - 1].strength > curve[0].strength;
}

function beforeAttack(trial, unit) {
  // The parts of the half that the search never saw are not recorded, so there its curves begin at the first strength.
  const parts = (trial.ue_detail || { parts: [] }).parts;
  const metrics = Object.fromEntries((parts || []).filter((part) => known(part.value)).map((part) => [part.metric, part.value]));
  return { strength: 0, unit, still_forgotten: trial.ue, unseen: trial.report_ue, utility: trial.ut, metrics };
}

// What is still forgotten on the chosen half. Records of older versions have it on the search half only.
const curvesFollow = (name) => TRIALS.some((trial) => ((attackOf(trial, name) || {}).report_left || []).length > 0);
const leftAt = (name) => (STATE.half === "report" && curvesFollow(name) ? (point) => point.unseen : (point) => point.still_forgotten);

// The metric as measured on the chosen half; records of older versions have the search half only.
const metricsFollow = (name) => TRIALS.some((trial) => ((attackOf(trial, name) || {}).curve || []).some((point) => Object.keys(point.report_metrics || {}).length));
const metricAt = (name, metric) => (STATE.half === "report" && metricsFollow(name) ? (point) => (point.report_metrics || {})[metric] : (point) => point.metrics[metric]);

function controlPoints(which, name) {
  const control = REPORT.controls ? REPORT.controls[which] : null;
  const curve = control ? control.attacks[name] || [] : [];
  if (!rises(curve)) return curve;
  const [metrics, report_metrics] = ["search", "report"].map((half) => {
    const before = control.measured.filter((one) => one.split === "forget" && one.half === half && known(one.value));
    return Object.fromEntries(before.map((one) => [one.metric, one.value]));
  });
  return [{ strength: 0, unit: curve[0].unit, still_forgotten: control.ue, utility: control.ut, metrics, report_metrics }, ...curve];
}

function drawHeat() {
  const rows = ATTACKED.slice().sort((one, other) => rank(other) - rank(one) || one.number - other.number).slice(0, HEAT_ROWS).reverse();
  const some = rows.length < ATTACKED.length ? `The ${rows.length} best of ${ATTACKED.length} attacked trials; all are in trials.csv. ` : "";
  byId("heat-note").textContent = rows.length
    ? `Stars are on the front. ${some}Measured on the ${STATE.half === "report" ? "rows the search never saw" : "rows the search used"}; point at a cell for more, also for why it has no value.`
    : "No trial has been attacked yet.";
  byId("plot-heat").hidden = !rows.length;
  if (!rows.length) return;
  const cells = (make) => rows.map((trial) => ATTACKS.map((name) => make(attackOf(trial, name), trial)));
  const trace = {
    type: "heatmap",
    x: ATTACKS.map((name) => safe(name.slice(0, 40))),
    y: rows.map((trial) => safe(`${trial.on_front ? "\u2605 " : ""}${trial.number} ${trial.method || ""}`.slice(0, 28))),
    z: cells((attack) => (attack && known(leftOf(attack)) ? leftOf(attack) : null)),
    zmin: 0,
    zmax: 1,
    colorscale: "Viridis",
    xgap: 2,
    ygap: 2,
    customdata: cells((attack, trial) => trial.number),
    text: cells(cellLabel),
    texttemplate: "%{text}",
    hovertext: cells(cellText),
    hovertemplate: "%{hovertext}<extra></extra>",
    colorbar: { title: { text: "forgetting<br>left" }, thickness: 12 },
  };
  byId("plot-heat").style.height = `${110 + 24 * rows.length}px`;
  const axes = { xaxis: { side: "top", showgrid: false }, yaxis: { tickfont: { size: 11 }, dtick: 1, showgrid: false }, margin: { l: 120, r: 12, t: 56, b: 12 } };
  Plotly.react("plot-heat", [trace], layout(axes), CONFIG);
}

function cellLabel(attack) {
  if (!attack) return "";
  return known(leftOf(attack)) ? number(leftOf(attack), 2) : attack.skipped ? "skipped" : "no value";
}

function cellText(attack, trial) {
  const lines = [`<b>${safe(trial.number)} ${safe(trial.method)}</b>`];
  if (!attack) return [...lines, "not attacked this way"].join("<br>");
  lines.push(`${safe(attack.attack)} (${safe(attack.family)})`);
  if (known(attack.value)) {
    lines.push(`forgetting left ${plusMinus(attack.value, attack.standard_error)} search, ${plusMinus(attack.report_value, attack.report_standard_error)} unseen`, `utility under attack ${number(attack.utility)}`);
  } else {
    lines.push(`${cellLabel(attack)}: ${safe((attack.reason || "no reason recorded").slice(0, 160))}`);
  }
  return lines.join("<br>");
}

function single(name) {
  return new Set(allPoints(name).map((point) => point.strength)).size < 2;
}

// Front members and the selected trial are drawn strong, the rest faint behind them. An attack of one strength has no
// curve: its marks stand over their method.
function curves(name, value) {
  const emphasis = (trial) => (trial.number === STATE.selected ? 2 : trial.on_front ? 1 : 0);
  const over = single(name);
  const drawn = TRIALS.filter((trial) => pointsOf(trial, name).some((point) => known(value(point))));
  return drawn.sort((one, other) => emphasis(one) - emphasis(other)).map((trial) => {
    const points = pointsOf(trial, name).filter((point) => known(value(point)));
    const style = DATA.styles[trial.method] || { colour: themed("--soft"), symbol: "circle" };
    const strong = emphasis(trial);
    const more = (point) => `${hoverText(trial)}<br>strength ${safe(point.strength)} ${safe(point.unit)}<br>utility ${number(point.utility)}`;
    return {
      type: "scatter",
      mode: "lines+markers",
      x: points.map((point) => (over ? safe((trial.method || "").slice(0, 24)) : point.strength)),
      y: points.map(value),
      customdata: points.map(() => trial.number),
      opacity: strong ? 1 : faint(),
      text: points.map(more),
      hovertemplate: "%{y:.3f}<br>%{text}<extra></extra>",
      line: { color: style.colour, width: 1 + 1.4 * strong },
      marker: { symbol: style.symbol, size: strong ? 8 : 5, color: style.colour },
    };
  });
}

function controlCurves(name, metric) {
  const over = single(name);
  const value = metricAt(name, metric);
  const traces = ["original", "gold"].map((which) => {
    const points = controlPoints(which, name).filter((point) => known(value(point)));
    return {
      type: "scatter",
      mode: "lines+markers+text",
      x: points.map((point) => (over ? which : point.strength)),
      y: points.map(value),
      text: points.map((_, index) => (index === points.length - 1 && !over ? which : "")),
      textposition: "top left",
      textfont: { color: themed("--ink") },
      hovertemplate: `${which} model under the same attack: %{y:.3f}<extra></extra>`,
      line: { color: themed("--ink"), width: 2.5, dash: which === "gold" ? "dash" : "solid" },
      marker: { symbol: which === "gold" ? "star" : "x", size: 9, color: themed("--ink") },
    };
  });
  return traces.filter((trace) => trace.x.length);
}

function metricsOf(name) {
  const points = [...allPoints(name), ...controlPoints("original", name), ...controlPoints("gold", name)];
  return [...new Set(points.flatMap((point) => Object.keys(point.metrics)))].sort();
}

// Stronger is further right: some strengths fall as the attack gets stronger (8 bits, then 4).
function strengthAxis(name) {
  if (single(name)) return { type: "category" };
  const curve = TRIALS.map((trial) => pointsOf(trial, name)).find((points) => points.length > 1) || [];
  const falling = curve.length > 1 && curve[curve.length - 1].strength < curve[0].strength;
  const units = [...new Set(allPoints(name).map((point) => point.unit))].join(", ");
  return { title: { text: safe(`strength (${units || "unit"})`) }, autorange: falling ? "reversed" : true };
}

function drawCurves() {
  const [name, metric] = [byId("curve-attack").value, byId("curve-metric").value];
  const xaxis = strengthAxis(name);
  const dashed = { type: "line", xref: "paper", x0: 0, x1: 1, line: { color: themed("--soft"), width: 1, dash: "dash" } };
  const label = { x: 1, xref: "paper", xanchor: "right", yanchor: "bottom", showarrow: false, font: { size: 11, color: themed("--soft") } };
  const left = {
    xaxis,
    yaxis: { range: [-0.05, 1.1], title: { text: "still forgotten" } },
    shapes: [0, 1].map((height) => ({ ...dashed, y0: height, y1: height })),
    annotations: [{ ...label, y: 1, text: "gold" }, { ...label, y: 0, text: "original" }],
    title: titled(name),
  };
  const right = { xaxis, yaxis: { title: { text: safe(metric) } }, title: titled(metric ? `${metric}, with the controls` : "no metric recorded") };
  Plotly.react("plot-curve", curves(name, leftAt(name)), layout(left), CONFIG);
  const raw = [...curves(name, metricAt(name, metric)), ...controlCurves(name, metric)];
  Plotly.react("plot-raw", raw, layout(right), CONFIG);
  byId("curve-note").textContent = `Strong lines are on the front, from before the attack (strength 0) on. Left: between the controls, which are the dashed lines, on the rows the search ${STATE.half === "report" && curvesFollow(name) ? "never saw" : "used"}. `
    + `Right: the metric as measured on the rows the search ${STATE.half === "report" && metricsFollow(name) ? "never saw" : "used"}, with the original and the gold model under the same attack in the colour of the text.`
    + (DATA.curves_left_out ? ` Curves of ${DATA.curves_left_out} further trials are left out of the page; report.json has them.` : "");
}

function startAttacks() {
  if (!OBJECTIVES.includes("rob")) return;
  drawHeat();
  on("theme", drawHeat);
  on("half", drawHeat);
  if (ATTACKED.length) linked("plot-heat");
  const withCurves = ATTACKS.filter((name) => allPoints(name).length);
  const strengths = (name) => new Set(allPoints(name).map((point) => point.strength)).size;
  byId("curves").hidden = !withCurves.length;
  if (!withCurves.length) return;
  const first = withCurves.reduce((best, name) => (strengths(name) > strengths(best) ? name : best));
  choose(byId("curve-attack"), withCurves, first);
  choose(byId("curve-metric"), metricsOf(first), null);
  const another = () => { choose(byId("curve-metric"), metricsOf(byId("curve-attack").value), null); drawCurves(); };
  byId("curve-attack").addEventListener("input", another);
  byId("curve-metric").addEventListener("input", drawCurves);
  drawCurves();
  ["plot-curve", "plot-raw"].forEach(linked);
  ["selection", "half", "theme"].forEach((what) => on(what, drawCurves));
}

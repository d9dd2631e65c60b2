"use strict";
// The live part of a page that is served: what runs now, the last events, and controls to stop the sweep and to enqueue a setting.
const EVERY_MS = 2000;
const LIVE = { settled: null, state: null, stale: false };

// The token comes with the address, is kept for this tab only, and does not stay in the address.
function liveToken() {
  const given = new URLSearchParams(location.search).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname + location.hash);
  }
  return sessionStorage.getItem("token");
}

function liveHead(now) {
  const parts = [`The sweep is ${now.state}`, `${now.settled}${now.wanted === null ? "" : ` of ${now.wanted}`} trials settled`, `${now.waiting} waiting`];
  if (known(now.utilisation)) parts.push(`slots ${Math.round(100 * now.utilisation)}% busy`);
  if (known(now.time_left_seconds)) parts.push(`about ${seconds(now.time_left_seconds)} left`);
  return parts.join(", ") + ".";
}

function liveStage(stage) {
  const who = stage.trial === null ? "preparation" : `${stage.trial}${stage.seed === null ? "" : ` seed ${stage.seed}`}`;
  const cells = [who, stage.method || "", stage.stage, seconds(stage.seconds), stage.training || ""];
  return element("tr", {}, ...cells.map((text) => element("td", {}, text)));
}

function showLive(now) {
  byId("live-head").textContent = liveHead(now);
  byId("live-stages").tBodies[0].replaceChildren(...now.running.map(liveStage));
  byId("live-events").replaceChildren(...now.events.map((event) => element("li", {}, `${new Date(1000 * event.time).toLocaleTimeString()} ${event.text}`)));
  byId("live-stop").hidden = !(now.can_stop && liveToken());
  byId("live-enqueue").hidden = !(now.state !== "finished" && liveToken());
  if (now.enqueued.length) byId("live-enqueued").textContent = `Waiting: ${now.enqueued.join("; ")}`;
  const before = LIVE.settled;
  const changed = before !== null && (before !== now.settled || LIVE.state !== now.state);
  Object.assign(LIVE, { settled: now.settled, state: now.state, stale: LIVE.stale || changed });
  if (LIVE.stale && !byId("live-setting").value) location.reload(); // what is being typed stays
}

async function askLive() {
  try {
    const reply = await fetch("live.json");
    if (!reply.ok) throw new Error((await reply.json()).error);
    showLive(await reply.json());
    byId("live-note").textContent = "";
  } catch (error) {
    byId("live-note").textContent = `No news from the server: ${error.message}`;
  }
  setTimeout(askLive, EVERY_MS);
}

async function stopSweep() {
  const reply = await fetch("stop", { method: "POST", headers: { "X-Token": liveToken() } });
  const said = await reply.json();
  byId("live-note").textContent = reply.ok ? "Stopping: nothing that is finished is lost." : said.error;
}

// The server checks the setting as the command `enqueue` does, and says what is wrong with it.
async function enqueueSetting() {
  const body = byId("live-setting").value.trim();
  if (!body) return;
  const reply = await fetch("enqueue", { method: "POST", headers: { "X-Token": liveToken() }, body });
  const said = await reply.json();
  byId("live-enqueued").textContent = reply.ok ? `Enqueued: ${said.setting}. ${said.when}` : said.error;
  if (reply.ok) byId("live-setting").value = "";
}

// The settings of a trial as the text to enqueue, for changing them.
function asSetting(trial) {
  const own = new Set(varyingParams(trialsOf(trial.method)));
  const values = Object.entries(trial.params).filter(([name]) => own.has(name)).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  return `{${JSON.stringify(trial.method)}: {${values.join(", ")}}}`;
}

function fillSetting() {
  const trial = BY_NUMBER.get(STATE.selected);
  if (trial && !byId("live-setting").value) byId("live-setting").value = asSetting(trial);
}

function startLive() {
  liveToken();
  byId("live-stop").addEventListener("click", stopSweep);
  byId("live-send").addEventListener("click", enqueueSetting);
  byId("live-setting").addEventListener("keydown", (event) => { if (event.key === "Enter") enqueueSetting(); });
  on("selection", fillSetting);
  askLive();
}

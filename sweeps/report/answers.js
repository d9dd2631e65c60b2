"use strict";
// Answers side by side: one line a question, one column a model, for one attack at a time.
const SHEET = DATA.answers;
const ANSWER_PAGE = 20;
const ANSWERS = { shown: ANSWER_PAGE };

const wordsOf = (text) => text.split(/(\s+)/);
const plainWord = (word) => word.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");

// The words of an answer that are a common subsequence with the reference.
function sharedWords(words, reference) {
  const [one, other] = [words.map(plainWord), wordsOf(reference).map(plainWord).filter(Boolean)];
  const best = Array.from({ length: one.length + 1 }, () => new Uint16Array(other.length + 1));
  for (let i = one.length - 1; i >= 0; i--) {
    for (let j = other.length - 1; j >= 0; j--) {
      const same = one[i] && one[i] === other[j];
      best[i][j] = same ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    }
  }
  const shared = new Set();
  for (let i = 0, j = 0; i < one.length && j < other.length;) {
    if (one[i] && one[i] === other[j]) { shared.add(i); i++; j++; }
    else if (best[i + 1][j] >= best[i][j + 1]) i++;
    else j++;
  }
  return shared;
}

function markedAnswer(text, reference) {
  if (text === null) return [element("span", { class: "note" }, "not asked")];
  if (!text.trim()) return [element("span", { class: "note" }, "(empty)")];
  if (reference === null) return [text];
  const words = wordsOf(text);
  const shared = sharedWords(words, reference);
  return words.map((word, index) => (shared.has(index) ? element("mark", {}, word) : word));
}

function repeats(text, reference) {
  const words = (from) => wordsOf(from).map(plainWord).filter(Boolean).join(" ");
  return text !== null && reference !== null && words(reference) !== "" && ` ${words(text)} `.includes(` ${words(reference)} `);
}

const shownStates = () => SHEET.states.map((state, index) => ({ ...state, index })).filter((state) => state.attack === byId("answer-attack").value);

function wantedAnswer(row) {
  const text = byId("answer-text").value.trim().toLowerCase();
  const split = byId("answer-split").value;
  const states = shownStates();
  if (split && row.split !== split) return false;
  const trials = states.filter((state) => state.trial !== null);
  if (byId("answer-said").checked && !trials.some((state) => repeats(row.answers[state.index], row.reference))) return false;
  if (!text) return true;
  return [row.question, row.reference, ...states.map((state) => row.answers[state.index])].join(" ").toLowerCase().includes(text);
}

function answerName(state) {
  const trial = state.trial === null ? null : BY_NUMBER.get(state.trial);
  return trial ? `${state.model} (${trial.method})` : state.model;
}

function answerHead(state) {
  return element("th", { scope: "col" }, answerName(state));
}

function answerRow(row, states) {
  const question = element("th", { scope: "row" }, row.question === null ? row.row_id : row.question, element("span", { class: "note block" }, row.split));
  const said = (label, ...parts) => element("td", { "data-label": label }, ...parts); // page.css shows the label on a phone
  const texts = states.map((state) => said(answerName(state), ...markedAnswer(row.answers[state.index], row.reference)));
  return element("tr", {}, question, said("reference", row.reference === null ? "\u2013" : row.reference), ...texts);
}

function strengthText(states) {
  const known = states.find((state) => state.strength !== null);
  return known ? ` at strength ${setting(known.strength)} ${known.unit}` : "";
}

function drawAnswers() {
  const states = shownStates();
  const rows = SHEET.rows.filter(wantedAnswer);
  const head = element("tr", {}, element("th", { scope: "col" }, "question"), element("th", { scope: "col" }, "reference"), ...states.map(answerHead));
  byId("answer-table").tHead.replaceChildren(head);
  byId("answer-table").tBodies[0].replaceChildren(...rows.slice(0, ANSWERS.shown).map((row) => answerRow(row, states)));
  const attack = byId("answer-attack").value;
  byId("answer-count").textContent = `${rows.length} of ${SHEET.rows.length} questions`;
  byId("answer-note").textContent = `Greedy answers ${attack ? `under ${attack}${strengthText(states)}` : "before any attack"}. Marked: words of the reference, in its order. `
    + (SHEET.rows.length < SHEET.asked ? `A fixed sample of ${SHEET.asked} rows; answers.csv has all of them.` : "");
  byId("answer-more").hidden = rows.length <= ANSWERS.shown;
}

function startAnswers() {
  const splits = [...new Set(SHEET.rows.map((row) => row.split))];
  const attacks = [...new Set(SHEET.states.map((state) => state.attack))];
  byId("answer-attack").replaceChildren(...attacks.map((attack) => element("option", { value: attack }, attack || "none")));
  byId("answer-split").append(...splits.map((split) => element("option", { value: split }, split)));
  const again = () => { ANSWERS.shown = ANSWER_PAGE; drawAnswers(); };
  ["answer-text", "answer-split", "answer-attack", "answer-said"].forEach((id) => byId(id).addEventListener("input", again));
  byId("answer-more").addEventListener("click", () => { ANSWERS.shown += ANSWER_PAGE; drawAnswers(); });
  again();
}

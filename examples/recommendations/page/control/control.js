// The control room. It reads the admin routes once a second, and shows what they say.

import { get, onToken } from "./admin.js";
import { drawLatency, drawShares } from "./chart.js";
import { draw, legend } from "./diagram.js";
import { byId, el, repeat, setAttribute, setText, sync } from "./dom.js";
import { changes } from "./changes.js";
import { tell } from "./feed.js";
import * as history from "./history.js";
import { answers, jobs, quantile } from "./metrics.js";
import { milliseconds, SOURCES, title } from "./sources.js";
import { read } from "./state.js";
import { showFeatures, showUpstreams } from "./switches.js";

const REFRESH_MS = 1_000;
/** In slots of 5 s. */
const [FIVE_SECONDS, HALF_A_MINUTE] = [1, 6];

const shop = new URL(`http://${location.hostname}:${document.body.dataset.shopPort}/`);
byId("shop-link").href = shop;
byId("visitors").addEventListener("change", showShop);
showShop();

/** The shop itself sends the requests of the visitors: another fragment doesn't load it again. */
function showShop() {
  byId("shop").src = new URL(`#visitors=${byId("visitors").value}`, shop);
}

async function refresh() {
  const [state, metrics] = await Promise.all([read(), get("/metrics")]);
  const status = byId("status");
  setText(status, state?.status ?? (byId("token-form").hidden ? "No connection" : "Needs a token"));
  status.dataset.tone = { healthy: "good", degraded: "warn" }[state?.status] ?? "bad";
  if (state === null || metrics === null) return;

  const now = Date.now();
  history.add(now, answers(metrics));
  showAnswers(now, state);
  showUpstreams(state.upstreams, again);
  showFeatures(state.features, again);
  showJobs(jobs(metrics));
  changes(state).forEach((words) => tell(words));
}

function showAnswers(now, state) {
  const recent = history.last(now, FIVE_SECONDS + 1);
  draw({ ...state, shares: shares(recent) });
  setText(byId("summary"), summary(recent));

  const half = history.last(now, HALF_A_MINUTE);
  legend(shares(half));
  const slots = history.all(now);
  drawShares(slots);
  drawLatency(slots);
  for (const [id, q] of [["p50", 0.5], ["p99", 0.99]]) {
    const value = quantile(q, half.within);
    setText(byId(id), value === null ? "–" : milliseconds(value));
  }
  setText(byId("rate"), `${(half.total / history.seconds(now, HALF_A_MINUTE)).toFixed(1)} / s`);
}

const shares = ({ counts, total }) =>
  Object.fromEntries(Object.entries(counts).map(([source, count]) => [source, total > 0 ? count / total : 0]));

/** A sentence that changes only when the story does. */
function summary({ counts, total }) {
  if (total === 0) return "Nobody asks just now.";
  const [primary, ...others] = SOURCES;
  const substitute = others.reduce((most, source) => ((counts[source.id] ?? 0) > (counts[most.id] ?? 0) ? source : most));
  const away = total - (counts[primary.id] ?? 0);
  if (away === 0) return `${primary.name} answers everything.`;
  return away < total / 2 ? `${primary.name} answers most; ${substitute.name} help.` : `${substitute.name} stand in for ${primary.name}.`;
}

function showJobs(queues) {
  const states = ["queued", "running", "dead"];
  const make = ([queue]) =>
    el("tr", {}, el("th", { scope: "row" }, title(queue)), ...states.map((state) => el("td", { class: state })));
  sync(byId("jobs"), Object.entries(queues).sort(), ([queue]) => queue, make, (row, [, counts]) => {
    states.forEach((state, index) => {
      const cell = row.children[index + 1];
      setText(cell, String(counts[state] ?? 0));
      setAttribute(cell, "class", counts[state] ? "some" : "none");
    });
  });
}

const again = repeat(refresh, () => REFRESH_MS);
onToken(again);

// The quiet banner. Each area of the page has its own notices, and replaces them as a whole.

import { byId, el, setText, sync } from "./dom.js";

const areas = new Map();

/**
 * Replaces the notices of an area. A notice is `{ text, tone, until }`: `text` is a function, because an age grows, and `until` is
 * the time, in milliseconds of `Date.now()`, to which it counts down.
 */
export function notify(area, notices) {
  if (notices.length === 0) areas.delete(area);
  else areas.set(area, notices);
  show();
}

function show() {
  const all = [...areas.values()].flat().map((notice) => ({ ...notice, said: notice.text() }));
  // Two areas may say the same.
  const distinct = [...new Map(all.map((notice) => [notice.said, notice])).values()];
  sync(byId("notices"), distinct, (notice) => notice.said, make, update);
}

function make() {
  return el("li", { class: "notice" }, el("span"));
}

function update(node, { said, tone, until }) {
  node.dataset.tone = tone;
  setText(node.firstChild, said);
  let timer = node.querySelector(".timer");
  if (until === undefined) {
    timer?.remove();
    return;
  }
  if (!timer) {
    // Screen readers don't announce each second of a timer.
    timer = el("span", { class: "timer number", role: "timer", "aria-live": "off" });
    node.append(timer);
  }
  const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
  setText(timer, left > 0 ? `Trying again in ${left} s` : "Trying again…");
}

setInterval(show, 250);

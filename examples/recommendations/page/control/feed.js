// The feed of events: what has changed, the newest first.

import { byId, el } from "./dom.js";

const SHOWN = 60;

/** Adds a line. */
export function tell(words, at = new Date()) {
  const list = byId("events");
  byId("no-events").hidden = true;
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  list.prepend(el("li", {}, el("time", { class: "number", datetime: at.toISOString() }, time), el("span", {}, words)));
  while (list.children.length > SHOWN) list.lastChild.remove();
}

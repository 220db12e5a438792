// The switches that break and mend each upstream, and turn features off.

import { change } from "./admin.js";
import { byId, el, setAttribute, setText, sync } from "./dom.js";
import { FAULTS, title } from "./sources.js";

/** Shows the upstreams. `changed` is called after a switch was used. */
export function showUpstreams(upstreams, changed) {
  sync(byId("upstreams"), upstreams, ({ name }) => name, ({ name }) => upstream(name, changed), (node, { name, fault }) => {
    const isBroken = fault !== "none";
    node.dataset.fault = fault;
    pill(node, isBroken ? FAULTS[fault] ?? fault : "works", isBroken ? "bad" : "good");
    const button = node.querySelector("button");
    setText(button, isBroken ? "Mend" : "Break");
    setAttribute(button, "aria-label", `${isBroken ? "Mend" : "Break"} ${title(name)}`);
    node.querySelector("select").disabled = isBroken;
  });
}

function upstream(name, changed) {
  const kinds = el(
    "select",
    { "aria-label": `How ${title(name)} breaks` },
    ...Object.entries(FAULTS).map(([kind, words]) => el("option", { value: kind }, words)),
  );
  const use = async () => {
    const isBroken = node.dataset.fault !== "none";
    await done(node, change("PUT", `/chaos/${name}`, { fault: isBroken ? "none" : kinds.value }), changed);
  };
  const node = row(title(name), kinds, el("button", { type: "button", onclick: use }));
  return node;
}

/** Shows the features. */
export function showFeatures(features, changed) {
  sync(byId("features"), features, ({ name }) => name, ({ name }) => feature(name, changed), (node, { name, state, tier, flag }) => {
    node.dataset.flag = flag ? "set" : "";
    pill(node, `${state}, ${tier.replaceAll("_", " ")}`, state === "enabled" ? "good" : state === "disabled" ? "bad" : "warn");
    const button = node.querySelector("button");
    setText(button, flag ? "Automatic" : "Turn off");
    setAttribute(button, "aria-label", `${flag ? "Make automatic" : "Turn off"}: ${title(name)}`);
    if (!node.dataset.failed) setText(node.querySelector(".why"), flag ? `${flag.who}: ${flag.reason}` : "");
  });
}

function feature(name, changed) {
  const use = async () => {
    const [state, reason] = node.dataset.flag ? ["auto", "back to normal"] : ["disabled", "turned off in the control room"];
    await done(node, change("PUT", `/features/${name}`, { state, who: "control room", reason }), changed);
  };
  const node = row(title(name), el("button", { type: "button", onclick: use }));
  return node;
}

function row(name, ...action) {
  return el(
    "li",
    {},
    el("p", { class: "name" }, name, el("span", { class: "pill" })),
    el("div", { class: "action" }, ...action),
    el("p", { class: "why muted", role: "status" }),
  );
}

function pill(node, words, tone) {
  const pill = node.querySelector(".pill");
  setText(pill, words);
  pill.dataset.tone = tone;
}

/** Says what went wrong, if anything did. */
async function done(node, changing, changed) {
  const problem = await changing;
  node.dataset.failed = problem ? "yes" : "";
  setText(node.querySelector(".why"), problem ?? "");
  changed();
}

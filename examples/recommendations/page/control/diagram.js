// The chain as a diagram: each source, how much it answers, and the circuit to the service that it calls.

import { byId, el, svg } from "./dom.js";
import { FAULTS, percent, SOURCES, title } from "./sources.js";

/** Where things are, in units of the drawing: in a row where there is room, else one below the other. */
const ROW = {
  size: [984, 208],
  entry: [36, 47],
  box: (index) => [112 + index * 226, 10, 190, 84],
  service: ([x, y, width, height]) => [x, y + height + 56, width, 56],
  wire: ([x, y, width, height]) => [x + width / 2, y + height, x + width / 2, y + height + 56],
  link: ([x, y, , height]) => [x - 36, y + height / 2, x, y + height / 2],
};
const COLUMN = {
  size: [340, 486],
  entry: [95, 18],
  box: (index) => [2, 56 + index * 110, 186, 84],
  service: ([x, y, width]) => [x + width + 34, y + 14, 114, 56],
  wire: ([x, y, width, height]) => [x + width, y + height / 2, x + width + 34, y + height / 2],
  link: ([x, y, width]) => [x + width / 2, y - 26, x + width / 2, y],
};

let drawn = "";
let state = null;

/** Draws the state if it differs from what is drawn. `shares` is of the last seconds, by source. */
export function draw(now) {
  state = now;
  const { shares, circuits, upstreams } = now;
  const place = byId("diagram");
  const layout = place.clientWidth < 620 ? COLUMN : ROW;
  const model = SOURCES.map((source, index) => {
    const upstream = upstreams.find(({ name }) => name === source.upstream);
    const circuit = circuits.find(({ name }) => name === source.id);
    return { ...source, index, share: shares[source.id] ?? 0, circuit, upstream };
  });
  const key = JSON.stringify([layout.size, model]);
  if (key === drawn) return;
  drawn = key;
  const last = model.findLastIndex(({ share }) => share > 0);
  const [width, height] = layout.size;
  const entry = layout.entry;
  place.replaceChildren(
    svg(
      "svg",
      { class: "diagram", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": describe(model) },
      svg("text", { class: "title", x: entry[0], y: entry[1] + 5, "text-anchor": "middle" }, "Request"),
      ...model.map((source) => one(source, layout, source.index <= last)),
    ),
  );
}

function one(source, layout, isFlowing) {
  const box = layout.box(source.index);
  const [x, y, width] = box;
  const isAnswering = source.share > 0;
  const isOpen = source.circuit !== undefined && source.circuit.state !== "closed";
  const group = svg(
    "g",
    { class: `${isAnswering ? "is-answering" : ""}` },
    svg("g", { class: isFlowing ? "is-flowing" : "" }, line("link", layout.link(box))),
    rect("box", box),
    text("title", x + 14, y + 26, source.name),
    text("small", x + 14, y + 45, `${percent(source.share)} of answers`),
    text(isOpen ? "small bad" : "small", x + 14, y + 62, circuitWords(source.circuit)),
    svg("rect", { class: "bar-ground", x: x + 14, y: y + 70, width: width - 28, height: 6, rx: 3 }),
    svg("rect", { class: "bar", x: x + 14, y: y + 70, width: (width - 28) * source.share, height: 6, rx: 3 }),
    ...(source.upstream ? service(source, layout, box, isOpen) : []),
  );
  group.style.setProperty("--source", `var(--${source.id})`);
  return group;
}

/** The service that a source calls, and its circuit, drawn as a switch. */
function service({ upstream }, layout, box, isOpen) {
  const [x1, y1, x2, y2] = layout.wire(box);
  const [dx, dy] = [(x2 - x1) / 4, (y2 - y1) / 4];
  const [from, to] = [[x1 + dx, y1 + dy], [x2 - dx, y2 - dy]];
  // An open switch swings aside.
  const tip = isOpen ? [to[0] - dy * 0.8 - dx * 0.3, to[1] - dx * 0.8 - dy * 0.3] : to;
  const [x, y, width] = layout.service(box);
  const isBroken = upstream.fault !== "none";
  return [
    svg(
      "g",
      { class: isOpen ? "is-open" : "" },
      line("wire", [x1, y1, ...from]),
      line("wire", [...to, x2, y2]),
      line("wire", [...from, ...tip]),
      svg("circle", { class: "contact", cx: from[0], cy: from[1], r: 4 }),
      svg("circle", { class: "contact", cx: to[0], cy: to[1], r: 4 }),
    ),
    svg(
      "g",
      { class: isBroken ? "is-broken" : "" },
      rect("box", layout.service(box)),
      text("title", x + width / 2, y + 24, title(upstream.name), "middle"),
      text("small", x + width / 2, y + 43, isBroken ? FAULTS[upstream.fault] ?? upstream.fault : "works", "middle"),
    ),
  ];
}

function circuitWords(circuit) {
  if (circuit === undefined) return "needs no service";
  const { state, waitSeconds } = circuit;
  if (state === "open" && waitSeconds !== null) return `circuit open, ${Math.ceil(waitSeconds)} s`;
  return `circuit ${state.replace("-", " ")}`;
}

function describe(model) {
  const parts = model.map(({ name, share, circuit, upstream }) => {
    const service = upstream ? `, ${title(upstream.name)} ${FAULTS[upstream.fault] ?? "works"}` : "";
    return `${name}: ${percent(share)} of answers${circuit ? `, ${circuitWords(circuit)}` : ""}${service}`;
  });
  return `The sources in order. ${parts.join(". ")}.`;
}

const line = (name, [x1, y1, x2, y2]) => svg("line", { class: name, x1, y1, x2, y2 });
const rect = (name, [x, y, width, height]) => svg("rect", { class: name, x, y, width, height, rx: 10 });
const text = (name, x, y, words, anchor = "start") => svg("text", { class: name, x, y, "text-anchor": anchor }, words);

new ResizeObserver(() => state && draw(state)).observe(byId("diagram"));

/** A legend beside the chart. */
export function legend(shares) {
  byId("legend").replaceChildren(
    ...SOURCES.map(({ id, name }) => {
      const swatch = el("span", { class: "swatch" });
      swatch.style.background = `var(--${id})`;
      return el("li", {}, swatch, name, el("span", { class: "part number" }, percent(shares[id] ?? 0)));
    }),
  );
}

// The shop. It asks the API every few seconds, and shows what it gets.

import { ask, isGood } from "./api.js";
import { byId, el, repeat, setText, svg, sync } from "./dom.js";
import { notify } from "./notices.js";
import { order } from "./orders.js";
import { currency, showRate } from "./rate.js";
import "./visitors.js";
import { about, warnings } from "./words.js";

const REFRESH_MS = 2_000;
/** After a failure without `Retry-After`. */
const AGAIN_SECONDS = 3;

const user = byId("user");
let waits = [];

async function refresh() {
  waits = [];
  await Promise.all([recommendations(user.value), dashboard(user.value), showRate(failed)]);
}

async function recommendations(name) {
  const answer = { ...(await ask(`/api/recommendations/${name}`)), receivedAt: Date.now() };
  if (name !== user.value) return; // somebody else shops by now
  if (!isGood(answer)) {
    notify("recommendations", [failed(answer, "Recommendations are temporarily unavailable")]);
    return;
  }
  const notice = about(answer, "recommendations");
  notify("recommendations", notice ? [notice] : []);
  const { items, latency_ms: took } = answer.body;
  setText(byId("from"), `Answered in ${took < 10 ? took.toFixed(1) : Math.round(took)} ms`);
  // What everybody gets is no match for anybody.
  byId("items").classList.toggle("for-all", answer.labels.isDegraded);
  sync(byId("items"), items, (item) => item.id, makeItem);
}

async function dashboard(name) {
  const answer = await ask(`/api/dashboard/${name}`);
  if (name !== user.value) return;
  if (!isGood(answer)) {
    notify("dashboard", [failed(answer, "Popular items are temporarily unavailable")]);
    return;
  }
  notify("dashboard", warnings(answer.body));
  const { popular, products } = answer.body.data;
  // Nobody knows the number if it is null, and 0 would be a lie.
  setText(byId("count"), products === null ? "How many items we have isn't known just now." : `${products} items in the shop`);
  byId("no-popular").hidden = popular.length > 0;
  sync(byId("popular"), popular.slice(0, 5), (item) => item.id, (item) => el("li", {}, item.name));
}

/** A notice that counts down to the next try. */
function failed(answer, text) {
  const wait = answer.labels.retryAfterSeconds ?? AGAIN_SECONDS;
  waits.push(wait * 1000);
  const said = answer.status === 0 ? "The shop can't be reached" : text;
  return { text: () => said, tone: "bad", until: Date.now() + wait * 1000 };
}

function makeItem(item) {
  const card = el(
    "li",
    { class: "card item" },
    picture(item),
    el("div", { class: "text" }, el("h3", {}, item.name), el("p", { class: "muted" }, `${Math.round(item.score * 100)} % match`)),
    el("button", { type: "button", "aria-label": `Order ${item.name}`, onclick: () => order(user.value, item) }, "Order"),
  );
  // An attribute `style` would need 'unsafe-inline' in the policy; the object doesn't.
  card.style.setProperty("--hue", hash(item.id) % 360);
  return card;
}

/** A picture made of the item's id: nothing is loaded. */
function picture({ id }) {
  const seed = hash(id);
  const shapes = [0, 1, 2, 3, 4].map((n) => {
    const bits = (seed >>> (n * 5)) & 31;
    const [x, size] = [18 + n * 26, 10 + (bits % 5) * 5];
    const opacity = 0.35 + (bits % 3) * 0.25;
    if (bits & 1) return svg("circle", { cx: x, cy: 40 + (bits % 7) * 3, r: size / 2, opacity });
    const [turn, y] = [bits * 11, 44];
    return svg("rect", { x: x - size / 2, y: y - size / 2, width: size, height: size, rx: 3, opacity, transform: `rotate(${turn} ${x} ${y})` });
  });
  return svg("svg", { class: "picture", viewBox: "0 0 140 88", preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true" }, ...shapes);
}

/** FNV-1a. */
function hash(text) {
  let value = 0x811c9dc5;
  for (const char of text) value = Math.imul(value ^ char.codePointAt(0), 0x01000193) >>> 0;
  return Math.imul(value ^ (value >>> 15), 0x2c1b3c6d) >>> 0;
}

const pause = byId("pause");
const isPaused = () => pause.getAttribute("aria-pressed") === "true";
const now = repeat(refresh, () => (isPaused() ? null : Math.max(REFRESH_MS, ...waits)));
pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(!isPaused()));
  if (!isPaused()) now();
});
currency.addEventListener("change", () => showRate(failed));
user.addEventListener("change", () => {
  sync(byId("items"), [], String);
  now();
});

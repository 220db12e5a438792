// Orders: charged at once, or accepted and followed to their end.

import { ask } from "./api.js";
import { byId, el, setText, sync } from "./dom.js";
import { notify } from "./notices.js";

/** How long to wait before a job's status is asked for again, or an order is repeated, unless the app says how long. */
const AGAIN_SECONDS = 1;
const REPEAT_SECONDS = 4;
/** How long the end of an order stays in the banner. It stays in the list. */
const READ_MS = 10_000;

const orders = [];

/** Orders an item, under a key that stays the same however often the order is sent: so it is charged once. */
export function order(user, item) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const key = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const placed = { key, user, item };
  orders.unshift(placed);
  return send(placed);
}

async function send(placed) {
  say(placed, { state: "Sending…" });
  const answer = await ask("/api/orders", {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": `"${placed.key}"` },
    body: JSON.stringify({ user_id: placed.user, product: placed.item.id }),
  });
  const { status, body, labels, location } = answer;
  if (status === 201) {
    const isEmailLate = body?.email === "queued";
    const email = isEmailLate ? "The e-mail will come later." : "A confirmation is on its way.";
    ended(placed, { state: "Charged", detail: email, tone: "good", notice: `Your order is charged. ${email}` });
  } else if (status === 202) {
    say(placed, {
      state: "Queued",
      detail: body?.message ? `${body.message}.` : "",
      tone: "warn",
      notice: "Your order is queued. You don't need to wait here.",
    });
    await follow(placed, location);
  } else if (status === 402) {
    ended(placed, { state: "Declined", detail: "Your bank declined the payment.", tone: "bad", notice: "Your payment was declined" });
  } else if (status === 410) {
    ended(placed, failed);
  } else if (status === 0 || status >= 500 || status === 429) {
    await repeat(placed, labels.retryAfterSeconds ?? REPEAT_SECONDS);
  } else {
    ended(placed, { state: "Refused", detail: body?.detail ?? "", tone: "bad", notice: "Your order was refused" });
  }
}

const failed = {
  state: "Failed",
  detail: "You weren't charged. Please order again.",
  tone: "bad",
  notice: "Your order failed, and you weren't charged",
};

/** Nobody knows whether the order arrived. The same key makes it safe to repeat. */
async function repeat(placed, wait) {
  const until = Date.now() + wait * 1000;
  say(placed, {
    state: "Not confirmed",
    detail: "It is sent again, and charged only once.",
    tone: "warn",
    notice: "Your order isn't confirmed yet",
    until,
  });
  await pause(wait);
  return send(placed);
}

/** Follows a queued order to its end. `location` is the address of its job. */
async function follow(placed, location) {
  const isCharge = location.includes("/charges/");
  for (;;) {
    const { status, body, labels } = await ask(location);
    if (body?.status === "done") {
      return ended(placed, isCharge ? charged : settled);
    }
    if (body?.status === "failed") {
      return ended(placed, isCharge ? failed : settled);
    }
    if (status === 404) {
      return ended(placed, settled);
    }
    await pause(labels.retryAfterSeconds ?? AGAIN_SECONDS);
  }
}

const charged = { state: "Charged", detail: "A confirmation is on its way.", tone: "good", notice: "Your queued order is charged" };
const settled = {
  state: "Settled",
  detail: "An e-mail says whether you were charged.",
  tone: "good",
  notice: "Your queued order is settled. An e-mail says whether you were charged.",
};

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

function ended(placed, shown) {
  say(placed, shown);
  setTimeout(() => notify(placed.key, []), READ_MS);
}

function say(placed, shown) {
  placed.shown = shown;
  const { notice, tone, until } = shown;
  notify(placed.key, notice ? [{ text: () => notice, tone, until }] : []);
  show();
}

function show() {
  byId("no-orders").hidden = orders.length > 0;
  sync(byId("orders"), orders.slice(0, 6), (placed) => placed.key, make, update);
}

function make({ item }) {
  return el(
    "li",
    {},
    el("div", { class: "row" }, el("span", {}, item.name), el("span", { class: "pill state" })),
    el("p", { class: "muted detail" }),
  );
}

function update(node, { shown }) {
  const state = node.querySelector(".state");
  setText(state, shown.state);
  state.dataset.tone = shown.tone ?? "";
  setText(node.querySelector(".detail"), shown.detail ?? "");
}

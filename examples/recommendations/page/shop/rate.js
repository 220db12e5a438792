// What one euro is in another currency. The answer has labels of its own.

import { ask, isGood } from "./api.js";
import { byId, el, setText } from "./dom.js";
import { notify } from "./notices.js";
import { ago } from "./words.js";

export const currency = byId("currency");
currency.append(...["USD", "GBP", "CHF", "JPY", "SEK"].map((code) => el("option", { value: code }, code)));

/** Asks for the rate. `failed` makes the notice of an answer that is none. */
export async function showRate(failed) {
  const code = currency.value;
  const answer = await ask(`/api/exchange-rates/${code}`);
  if (code !== currency.value) return; // another one was chosen by now
  if (!isGood(answer)) {
    notify("rate", [failed(answer, "The exchange rate is temporarily unavailable")]);
    setText(byId("rate"), "–");
    setText(byId("rate-from"), "");
    return;
  }
  notify("rate", []);
  setText(byId("rate"), `€ 1 = ${answer.body.rate} ${answer.body.currency}`);
  setText(byId("rate-from"), quality(answer));
}

/** Beside the rate and not in the banner: an older rate changes nothing that a customer can do. */
function quality({ labels, body }) {
  if (labels.isStale) return labels.ageSeconds === null ? "A saved rate" : `A saved rate from ${ago(labels.ageSeconds)}`;
  if (labels.isDegraded) return body.as_of === undefined ? "A rough rate" : `A rough rate, of ${body.as_of}`;
  return labels.sources.length > 0 ? "From our second source" : "Up to date";
}

// Requests to the admin listener, with the token if it asks for one.

import { byId } from "./dom.js";

/** The token is kept here alone: not in storage, not in a cookie. */
let token = fromFragment();

/** A link such as `…/#token=…` signs in. The token then leaves the address bar; a fragment is never sent to a server. */
function fromFragment() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given !== null) history.replaceState(null, "", location.pathname);
  return given;
}

/** The headers of a request. */
export const credentials = () => (token ? { authorization: `Bearer ${token}` } : {});

/** Resolves to the answer's JSON or text, or `null` if there is none. */
export async function get(path) {
  return read(await send(path));
}

/** Changes something, with JSON. Resolves to `null`, or to what went wrong. */
export async function change(method, path, body) {
  const answer = await send(path, {
    method,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (answer?.ok) return null;
  const problem = answer && (await read(answer, true));
  return problem?.detail ?? "The admin listener can't be reached";
}

async function send(path, options = {}) {
  try {
    const headers = { ...options.headers, ...credentials() };
    const answer = await fetch(path, { ...options, headers, cache: "no-store", signal: AbortSignal.timeout(5_000) });
    if (answer.status === 401) askForToken();
    return answer;
  } catch {
    return null;
  }
}

async function read(answer, evenIfBad = false) {
  if (!answer || !(answer.ok || evenIfBad)) return null;
  const isJson = /[/+]json\b/.test(answer.headers.get("content-type") ?? "");
  return isJson ? answer.json() : answer.text();
}

function askForToken() {
  const form = byId("token-form");
  if (!form.hidden) return;
  form.hidden = false;
  byId("token").focus();
}

/** Calls `changed` when somebody has typed a token. */
export function onToken(changed) {
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = byId("token").value.trim();
    byId("token").value = "";
    byId("token-form").hidden = true;
    changed();
  });
}

// One request to the app's API, and what the headers of its answer say.

/** A request that takes longer is given up. The app's own limits are shorter. */
const PATIENCE_MS = 5_000;

/** Resolves to `{ status, body, labels, location }`. Status 0 means that there was no answer. */
export async function ask(path, options = {}) {
  try {
    const answer = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    const isJson = /[/+]json\b/.test(answer.headers.get("content-type") ?? "");
    const body = isJson ? await answer.json() : null;
    return { status: answer.status, body, labels: labels(answer.headers), location: answer.headers.get("location") };
  } catch {
    return { status: 0, body: null, labels: labels(new Headers()), location: null };
  }
}

export const isGood = (answer) => answer.status >= 200 && answer.status < 300;

/** The labels of a degraded answer. A healthy answer has none of these headers. */
function labels(headers) {
  const list = headers.get("x-fallback-source") ?? "";
  const freshness = headers.get("x-data-freshness");
  const age = headers.get("age");
  return {
    // `recommendations/cached, popular/default`: the part's name comes before the source's.
    sources: list.split(",").map((source) => source.trim()).filter(Boolean),
    isStale: freshness === "stale",
    isDegraded: freshness === "degraded",
    ageSeconds: /^\d+$/.test(age ?? "") ? Number(age) : null,
    retryAfterSeconds: seconds(headers.get("retry-after")),
  };
}

/** `Retry-After` is a number of seconds or a date (RFC 9110 §10.2.3). */
function seconds(retryAfter) {
  if (retryAfter === null) return null;
  if (/^\d+$/.test(retryAfter)) return Number(retryAfter);
  const date = Date.parse(retryAfter);
  return Number.isNaN(date) ? null : Math.max(0, Math.ceil((date - Date.now()) / 1000));
}

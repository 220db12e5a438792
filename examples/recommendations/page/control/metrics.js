// Reads the app's metrics, in the text format of Prometheus: the same figures as in a team's own dashboards.

import { CHAIN, SOURCES } from "./sources.js";

const LINE = /^(\w+)(?:\{([^}]*)\})? (\S+)$/gm;
const LABEL = /(\w+)="([^"]*)"/g;

/** The samples of these metrics: `[{ name, labels, value }]`. */
function samples(text, names) {
  return [...text.matchAll(LINE)]
    .filter(([, name]) => names.includes(name))
    .map(([, name, labels = "", value]) => ({
      name,
      labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key, word]) => [key, word])),
      value: Number(value),
    }));
}

/**
 * How many answers each source of the chain has given so far, and how many took at most each bound of seconds, whoever gave them.
 */
export function answers(text) {
  const counts = Object.fromEntries(SOURCES.map(({ id }) => [id, 0]));
  const within = new Map();
  for (const { name, labels, value } of samples(text, ["fallback_latency_seconds_count", "fallback_latency_seconds_bucket"])) {
    if (labels.chain_name !== CHAIN) continue;
    if (name.endsWith("_count")) counts[labels.provider_name] = value;
    else {
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      within.set(bound, (within.get(bound) ?? 0) + value);
    }
  }
  return { counts, within };
}

/** The jobs of each queue by state: `{ charges: { queued: 1 } }`. */
export function jobs(text) {
  const queues = {};
  for (const { labels, value } of samples(text, ["deferred_jobs"])) {
    queues[labels.queue] = { ...queues[labels.queue], [labels.state]: value };
  }
  return queues;
}

/** The quantile of a histogram, as Prometheus works it out: evenly spread within a bucket. `null` without samples. */
export function quantile(q, within) {
  const bounds = [...within.keys()].sort((a, b) => a - b);
  const total = within.get(Infinity) ?? 0;
  if (total === 0) return null;
  const rank = q * total;
  let [low, below] = [0, 0];
  for (const bound of bounds) {
    const count = within.get(bound);
    if (count >= rank) {
      if (bound === Infinity) return low;
      return low + ((bound - low) * (rank - below)) / Math.max(count - below, Number.MIN_VALUE);
    }
    [low, below] = [bound, count];
  }
  return low;
}

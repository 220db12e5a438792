// What the labels of an answer mean for a customer. No code here knows why an answer is degraded: the labels are enough.

/** What is shown instead of recommendations. */
const SUBSTITUTES = {
  popular_items: "Showing popular items instead of your own recommendations",
  static_bestsellers: "Showing our bestsellers instead of your own recommendations",
};

/** Whole minutes, so that a screen reader hears at most one change a minute. */
export function ago(seconds) {
  if (seconds < 60) return "less than a minute ago";
  const [count, unit] = seconds < 3_600 ? [Math.floor(seconds / 60), "minute"] : [Math.floor(seconds / 3_600), "hour"];
  return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
}

/** A notice about an answer with these labels, or `null`. `what` is what the answer has: "recommendations". */
export function about({ labels, receivedAt }, what) {
  if (labels.isStale) {
    if (labels.ageSeconds === null) return { text: () => `Showing saved ${what}`, tone: "warn" };
    const age = () => labels.ageSeconds + Math.floor((Date.now() - receivedAt) / 1000);
    return { text: () => `Showing saved ${what} from ${ago(age())}`, tone: "warn" };
  }
  if (labels.isDegraded) {
    const known = labels.sources.map((source) => SUBSTITUTES[source.split("/").at(-1)]).find(Boolean);
    return { text: () => known ?? `Showing fewer or older ${what} than usual`, tone: "warn" };
  }
  return null;
}

/** The warnings that the app wrote into the body of a partial answer. */
export function warnings(body) {
  return (body?.warnings ?? []).map((warning) => ({ text: () => warning, tone: "warn" }));
}

// The two charts. Both have 600 × 120 units, and one slot of time after another.

import { byId, setAttribute, setText, svg } from "./dom.js";
import { quantile } from "./metrics.js";
import { milliseconds, SOURCES } from "./sources.js";

const [WIDTH, HEIGHT] = [600, 120];

/** The share of each source in each slot, from the first source at the bottom to the last at the top. */
export function drawShares(slots) {
  const step = WIDTH / slots.length;
  const bars = slots.flatMap((slot, index) => {
    const total = Object.values(slot?.counts ?? {}).reduce((sum, count) => sum + count, 0);
    let y = HEIGHT;
    return SOURCES.filter(({ id }) => slot?.counts[id] > 0).map(({ id }) => {
      const height = (slot.counts[id] / total) * HEIGHT;
      y -= height;
      const bar = svg("rect", { x: index * step + 0.5, y, width: step - 1, height });
      bar.style.fill = `var(--${id})`;
      return bar;
    });
  });
  const chart = byId("share");
  chart.replaceChildren(...bars);
  setAttribute(chart, "aria-label", "How much each source answered, over the last 5 minutes. The list below has the figures.");
}

/** p50 and p99 in each slot. */
export function drawLatency(slots) {
  const step = WIDTH / slots.length;
  const series = [0.5, 0.99].map((q) => slots.map((slot) => (slot ? quantile(q, slot.within) : null)));
  const top = Math.max(0.01, ...series.flat().filter((value) => value !== null)) * 1.1;
  const lines = series.map((values, which) => {
    const points = values.flatMap((value, index) =>
      value === null ? [] : [`${(index + 0.5) * step},${HEIGHT - (value / top) * HEIGHT}`],
    );
    return svg("polyline", { class: which === 0 ? "line-p50" : "line-p99", points: points.join(" ") });
  });
  const chart = byId("latency");
  chart.replaceChildren(...lines);
  setAttribute(chart, "aria-label", `p50 and p99 over the last 5 minutes, from 0 to ${milliseconds(top)}`);
  setText(byId("latency-top"), `solid p50, dashed p99, up to ${milliseconds(top)}`);
}

// What happened in the last minutes, worked out from counters that only grow.

/** A bar of the chart. */
const SLOT_MS = 5_000;
/** Five minutes. */
export const SLOTS = 60;

const slots = new Map();
let before = null;

const slotOf = (time) => Math.floor(time / SLOT_MS);

/** Adds a reading of the counters. */
export function add(now, { counts, within }) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  // The first reading says nothing about when. A smaller one means that the process is new.
  if (before && total >= before.total) {
    const slot = slots.get(slotOf(now)) ?? { counts: {}, within: new Map() };
    slots.set(slotOf(now), slot);
    for (const [source, count] of Object.entries(counts)) {
      slot.counts[source] = (slot.counts[source] ?? 0) + count - (before.counts[source] ?? 0);
    }
    for (const [bound, count] of within) {
      slot.within.set(bound, (slot.within.get(bound) ?? 0) + count - (before.within.get(bound) ?? 0));
    }
  }
  before = { counts, within, total };
  for (const key of slots.keys()) {
    if (key <= slotOf(now) - SLOTS) slots.delete(key);
  }
}

/** The slots from the oldest to now; `undefined` where nothing is known. */
export function all(now) {
  return Array.from({ length: SLOTS }, (_, index) => slots.get(slotOf(now) - SLOTS + 1 + index));
}

/** The last `count` slots together. */
export function last(now, count) {
  const sum = { counts: {}, within: new Map(), total: 0 };
  for (const slot of all(now).slice(-count)) {
    if (!slot) continue;
    for (const [source, answers] of Object.entries(slot.counts)) {
      sum.counts[source] = (sum.counts[source] ?? 0) + answers;
      sum.total += answers;
    }
    for (const [bound, answers] of slot.within) sum.within.set(bound, (sum.within.get(bound) ?? 0) + answers);
  }
  return sum;
}

/** How many seconds of the last `count` slots have passed. */
export const seconds = (now, count) => ((count - 1) * SLOT_MS + (now % SLOT_MS)) / 1000;

// What has changed between two readings, in words.

import { FAULTS, title } from "./sources.js";

let before = null;

/** The changes since the last call. */
export function changes(state) {
  const facts = new Map([
    ["status", [state.status, `The service is ${state.status}`]],
    ...state.upstreams.map(({ name, fault }) => [
      `upstream ${name}`,
      [fault, fault === "none" ? `${title(name)} was mended` : `${title(name)} was broken: it ${FAULTS[fault] ?? fault}`],
    ]),
    ...state.circuits.map(({ name, state: is }) => [`circuit ${name}`, [is, `Circuit of ${title(name)}: ${is.replace("-", " ")}`]]),
    ...state.features.map(({ name, state: is, cause }) => [`feature ${name}`, [is, `${title(name)}: ${is} (${cause.replaceAll("-", " ")})`]]),
  ]);
  const changed = before === null ? [] : [...facts].filter(([key, [value]]) => before.has(key) && before.get(key)[0] !== value);
  before = facts;
  return changed.map(([, [, words]]) => words);
}

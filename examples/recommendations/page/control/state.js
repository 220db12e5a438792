// The state that the admin routes show, in the shape that this page needs.

import { get } from "./admin.js";

/** Resolves to `{ status, upstreams, circuits, features }`, or `null` if a route doesn't answer. */
export async function read() {
  const paths = ["/chaos", "/circuits", "/features", "/health"];
  const [chaos, circuits, features, health] = await Promise.all(paths.map((path) => get(path)));
  if (!chaos || !circuits || !features || !health) return null;
  return {
    // The worst of all components, at once. The level that moves features follows later.
    status: health.status,
    upstreams: chaos.upstreams,
    circuits: circuits.circuits.map(({ name, state, remaining_wait_ms: wait }) => ({
      name,
      state,
      waitSeconds: wait === null ? null : wait / 1000,
    })),
    features: features.features,
  };
}

// The chain of sources, in their order, and how people call its parts.

export const CHAIN = "recommendations";

/** The sources, the circuit of each that calls a service, and that service. */
export const SOURCES = [
  { id: "ml_service", name: "ML service", upstream: "ml" },
  { id: "cached", name: "Saved answers" },
  { id: "popular_items", name: "Popular items", upstream: "catalog" },
  { id: "static_bestsellers", name: "Bestsellers" },
];

const NAMES = {
  ml: "ML service",
  catalog: "Catalog",
  payment: "Payment",
  mail: "Mail",
  rates: "Rates",
  more_rates: "Second rates",
  ml_service: "ML service",
  popular_items: "Catalog",
  payment_service: "Payment",
  mail_service: "Mail",
  primary_rates: "Rates",
  secondary_rates: "Second rates",
  ml_recommendations: "Personal recommendations",
};

/** A name for people. */
export const title = (name) => NAMES[name] ?? name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());

/** What an upstream does under each fault. */
export const FAULTS = {
  status: "answers 503",
  hang: "never answers",
  latency: "answers late",
  refuse: "isn't there",
  reset: "breaks connections",
  truncate: "breaks off",
  late: "works too late",
};

export const percent = (share) => `${share > 0 && share < 0.01 ? "<1" : Math.round(share * 100)} %`;

export function milliseconds(seconds) {
  const ms = seconds * 1000;
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

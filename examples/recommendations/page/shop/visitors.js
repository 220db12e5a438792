// Other visitors: with `#visitors=5` in its address, the page sends that many requests a second, so that there is something to see.

/** Few, so that most come again, and have a saved answer. */
const USERS = 12;
const MOST = 50;
const EACH_MS = 100;

let owed = 0;

function visit() {
  const asked = Number(new URLSearchParams(location.hash.slice(1)).get("visitors")) || 0;
  if (document.hidden) return;
  owed += (Math.min(Math.max(asked, 0), MOST) * EACH_MS) / 1000;
  for (; owed >= 1; owed -= 1) {
    const user = `visitor-${Math.floor(Math.random() * USERS)}`;
    fetch(`/api/recommendations/${user}`, { cache: "no-store" }).catch(() => {});
  }
}

setInterval(visit, EACH_MS);

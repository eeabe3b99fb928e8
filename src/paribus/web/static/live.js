// Asks for this page again while it is looked at, and puts what has changed in its place: elements with `data-live`.
// The server answers 304 for as long as nothing has changed, so the page itself is the only thing that is rendered.
const RUNNING_MS = 2000;
const RESTING_MS = 6000;
let known = null;
let failures = 0;

async function refresh() {
  const response = await fetch(location.href, { cache: "no-cache", headers: { Accept: "text/html" } });
  const tag = response.headers.get("ETag");
  if (!response.ok || tag === null || tag === known) return;
  known = tag;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(old.id);
    if (next === null || next.isEqualNode(old)) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const scrolled = old.querySelector(".scroll")?.scrollLeft ?? 0;
    old.replaceWith(document.adoptNode(next));
    const region = next.querySelector(".scroll");
    if (region !== null) region.scrollLeft = scrolled;
    if (focused !== null) next.querySelector(`a[href="${CSS.escape(focused.getAttribute("href") ?? "")}"]`)?.focus();
  }
  document.dispatchEvent(new Event("paribus:changed"));
}

function isRunning() {
  return document.querySelector(".state.running") !== null;
}

async function loop() {
  if (!document.hidden) {
    try {
      await refresh();
      failures = 0;
    } catch {
      failures += 1; // The server may be gone for a moment, or for good.
    }
    document.documentElement.toggleAttribute("data-lost", failures > 2);
  }
  setTimeout(loop, isRunning() ? RUNNING_MS : RESTING_MS * Math.min(failures + 1, 5));
}

setTimeout(loop, RUNNING_MS);

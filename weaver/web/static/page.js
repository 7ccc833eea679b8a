/* The page: which view is shown, and the overview, which keeps all of them true. */

import { element, say } from "./elements.js";
import { loadLedger, loadLineage, startLedger } from "./ledger.js";
import { loadQueue, showQueue, startQueue } from "./queue.js";
import { showStatus } from "./status.js";
import { QUIET_S, Stream } from "./stream.js";
import { startUpload } from "./upload.js";

const QUEUE_EVERY_MS = 5000;
const LOADED = { queue: loadQueue, ledger: loadLedger, lineage: loadLineage };
let counts = "";

/* Show the view that the address names; the first one when it names none. */
function turn() {
  const links = [...document.querySelectorAll("nav a")];
  const wanted = links.some((link) => link.hash === location.hash) ? location.hash : "#status";
  for (const link of links) {
    if (link.hash === wanted) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    element(link.hash.slice(1)).hidden = link.hash !== wanted;
  }
  const load = LOADED[wanted.slice(1)];
  if (load) load();
}

function show() {
  const { overview } = stream;
  if (overview) {
    showStatus(overview, stream.age);
    showQueue(overview, stream.age);
    const now = JSON.stringify(overview.status.queue);
    if (now !== counts && !element("queue").hidden) loadQueue();
    counts = now;
  }
  showBanner();
}

/* Say that what is shown is old, and since when. */
function showBanner() {
  const { isStale } = stream;
  element("stale").hidden = !isStale;
  document.body.classList.toggle("gone", isStale);
  const why = stream.quiet >= QUIET_S ? "Nothing comes from Weaver." : "Weaver is there, but tells nothing new.";
  say(element("trouble"), isStale ? stream.trouble || why : "");
  say(element("since"), isStale ? `Stale since ${Math.floor(stream.age)}s.` : "");
}

const stream = new Stream(show);
startQueue();
startUpload();
startLedger();
for (const button of document.querySelectorAll("[data-load]")) {
  button.addEventListener("click", () => LOADED[button.dataset.load]());
}
element("yes").addEventListener("click", () => element("sure").close("yes"));
element("no").addEventListener("click", () => element("sure").close("no"));
element("close-job").addEventListener("click", () => { element("job").hidden = true; });
window.addEventListener("hashchange", turn);
setInterval(show, 1000);
setInterval(() => element("queue").hidden || stream.trouble || loadQueue(), QUEUE_EVERY_MS);
turn();
stream.follow();

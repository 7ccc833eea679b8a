/* The queue: its jobs by state, what can be done with them, and one job in detail. */

import { ask } from "./ask.js";
import { element, fill, make, say, table } from "./elements.js";
import { showJob } from "./job.js";
import { duration, markOf, seconds, whole } from "./words.js";

const SHOWN = 100;
const PRIORITIES = ["high", "normal", "low"];
const WAITING = ["processing", ...PRIORITIES];
const VIEWS = { waiting: WAITING, completed: ["completed"], failed: ["failed"], rejected: ["rejected"] };
const ASK_EVERY_MS = 500;

const jobs = table("Jobs", [
  ["Name", "name"], ["State"], ["Priority", "roomy"], ["Age", "number"], ["Lines", "number roomy"], ["Verbs", "verbs"], ["Job", "long roomy"],
]);
let view = "waiting";
let read = { jobs: [], at: null };
let latest = null;

/* Wire the buttons of the view; once. */
export function startQueue() {
  element("jobs").append(jobs.whole);
  for (const button of element("states").querySelectorAll("button")) {
    button.addEventListener("click", () => {
      view = button.dataset.view;
      for (const one of element("states").querySelectorAll("button")) one.setAttribute("aria-pressed", String(one === button));
      loadQueue();
    });
  }
  for (const button of element("orders").querySelectorAll("button")) {
    button.addEventListener("click", () => order(button.dataset.verb));
  }
}

/* Read the jobs of the chosen states again. */
export async function loadQueue() {
  const asked = view;
  const order = asked === "waiting" ? "" : "&newest=true";
  try {
    const pages = await Promise.all(VIEWS[asked].map((state) => ask(`/api/queue?state=${state}&limit=${SHOWN}${order}`)));
    if (asked !== view) return;
    read = { jobs: pages.flatMap((page) => page.jobs), at: performance.now(), more: pages.some((page) => page.next) };
    showJobs();
  } catch (error) {
    answer(error.message, "bad");
  }
}

/* Show ages and counts as of now. `checked_at` is the server's clock: that of this machine may be wrong. */
export function showQueue(overview, age) {
  const q = overview.status.queue;
  const counts = { waiting: q.processing + q.high + q.normal + q.low, ...q };
  for (const button of element("states").querySelectorAll("button")) {
    say(button.querySelector("span"), String(counts[button.dataset.view]));
  }
  say(element("paused"), q.paused ? "The queue is paused: nothing is claimed until resume." : "");
  showJobs(new Date(Date.parse(overview.status.checked_at) + 1000 * age).toISOString());
}

let clock = null;

function showJobs(at = clock) {
  clock = at;
  say(element("few"), read.jobs.length === 0 ? "No job here." : read.more ? `The first ${SHOWN} of each state; there are more.` : "");
  jobs.whole.hidden = read.jobs.length === 0;
  fill(jobs, read.jobs, (job) => job.id, (job) => [
    { key: job.id, node: () => make("button", { class: "link", onclick: () => openJob(job.id) }, job.name || job.id) },
    { text: job.state, kind: markOf(job.state) }, PRIORITIES.includes(job.state) ? job.state : job.priority,
    at && job.received_at ? duration(seconds(job.received_at, at)) : null,
    job.lines ? `${whole(job.lines.accepted)} of ${whole(job.lines.dropped)}` : null,
    { key: `${job.id} ${job.state}`, node: () => verbs(job) }, job.error || job.id,
  ]);
}

function verbs(job) {
  const button = (verb, title, act) =>
    make("button", { onclick: act, "aria-label": `${title} ${job.name || job.id}`, "data-verb": verb }, title);
  const made = [];
  if (PRIORITIES.includes(job.state)) {
    for (const priority of PRIORITIES.filter((name) => name !== job.state)) {
      made.push(button("promote", `to ${priority}`, () => move(job, "promote", { priority })));
    }
    made.push(button("rm", "rm", () => remove(job)));
  } else if (canBeRetried(job)) {
    made.push(button("retry", "retry", () => move(job, "retry", {})));
  }
  return make("span", {}, ...made);
}

const canBeRetried = (job) =>
  !job.error && (["failed", "completed"].includes(job.state) || (job.reason !== null && job.reason.code === "duplicate"));

async function move(job, verb, body) {
  answer(`${verb} ${job.name} ...`, "calm");
  try {
    const moved = await ask(`/api/queue/${encodeURIComponent(job.id)}/${verb}`, body);
    answer(`${verb} ${moved.name}: it is now in ${moved.state}.`, "good");
  } catch (error) {
    answer(error.message, "bad");
  }
  await loadQueue();
}

/* Ask before a job is taken out, and do nothing when the answer is no. */
function remove(job) {
  const dialog = element("sure");
  say(dialog.querySelector("p"), `Take ${job.name} out of the queue? It keeps its files, in rejected (${job.id}).`);
  dialog.returnValue = "";
  dialog.addEventListener("close", () => dialog.returnValue === "yes" && move(job, "rm", {}), { once: true });
  dialog.showModal();
}

/* Place an order and say that it waits until train_next, which obeys within a step of training, has answered it. */
async function order(verb) {
  answer(`${verb} ...`, "calm");
  try {
    const placed = await ask(`/api/queue/${verb}`, {});
    latest = placed.id;
    answer(`${verb}: ordered as ${placed.id}; it waits for train_next, which obeys within one step.`, "fair");
    for (let told = placed; latest === placed.id; ) {
      if (typeof told.ok === "boolean") {
        const named = told.message.startsWith(`${verb}: `) ? told.message : `${verb}: ${told.message}`;
        return answer(named, told.ok ? "good" : "bad");
      }
      await new Promise((resume) => setTimeout(resume, ASK_EVERY_MS));
      told = await ask(`/api/orders/${placed.id}`);
    }
  } catch (error) {
    answer(error.message, "bad");
  }
}

function answer(text, mark) {
  say(element("answer"), text);
  element("answer").className = mark;
}

/* Show one job beside the list; also for links from receipts and tallies. */
export async function openJob(id) {
  location.hash = "#queue";
  try {
    showJob(await ask(`/api/queue/${encodeURIComponent(id)}`));
  } catch (error) {
    answer(error.message, "bad");
  }
}

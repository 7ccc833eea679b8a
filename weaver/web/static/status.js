/* The first view: how the factory is, its programs, and what it works on. */

import { element, fill, make, say, table } from "./elements.js";
import { bytes, duration, fixed, markOf, percent, when, whole } from "./words.js";

const programs = table("Programs", [
  ["Name", "name"], ["State"], ["Beat", "number"], ["Up", "number"], ["Restarts", "number roomy"], ["Pid", "number roomy"],
  ["Exit", "number roomy"], ["Note", "long"],
]);
const cards = new Map();

export function showStatus(overview, age) {
  const { status } = overview;
  say(element("state"), status.state.toUpperCase());
  element("state").className = `state ${markOf(status.state)}`;
  document.title = `${status.state} · Weaver`;
  const weaver = status.supervisor
    ? `Weaver pid ${status.supervisor.pid}, up ${duration(status.supervisor.up_s + age)}`
    : "no Weaver runs: `weaver up` starts it";
  say(element("about"), `${status.home} on ${status.host} · ${weaver}`);
  showProblems(overview.problems);
  for (const [title, facts] of factsOf(overview, age)) showCard(title, facts);
  if (!programs.whole.isConnected) element("programs").append(programs.whole);
  fill(programs, status.daemons, (row) => row.name, (row) => [
    row.name, { text: row.state, kind: markOf(row.state) },
    duration(row.heartbeat_age_s === null ? null : row.heartbeat_age_s + age),
    duration(row.up_s === null ? null : row.up_s + age), row.restarts, row.pid, row.last_exit, row.note,
  ]);
}

function showProblems(problems) {
  const list = element("problems").querySelector("ul");
  element("problems").hidden = problems.length === 0;
  if (list.dataset.shown === JSON.stringify(problems)) return;
  list.dataset.shown = JSON.stringify(problems);
  list.replaceChildren(...problems.map((text) => make("li", {}, text)));
}

function showCard(title, [main, ...rest]) {
  if (!cards.has(title)) {
    const parts = { main: make("p", { class: "main" }), rest: make("p", { class: "rest" }) };
    cards.set(title, parts);
    element("cards").append(make("section", { class: "card" }, make("h3", {}, title), parts.main, parts.rest));
  }
  const parts = cards.get(title);
  say(parts.main, main);
  say(parts.rest, rest.filter(Boolean).join(" · "));
}

function factsOf(overview, age) {
  const { status } = overview;
  const q = status.queue;
  return [
    ["Queue", [
      q.paused ? "paused" : `${q.high + q.normal + q.low} waiting`,
      q.paused && `${q.high + q.normal + q.low} waiting`, `inbox ${q.inbox}`, `high ${q.high}`, `normal ${q.normal}`, `low ${q.low}`,
      `processing ${q.processing}`, `completed ${q.completed}`, `failed ${q.failed}`, `rejected ${q.rejected}`,
    ]],
    ["Training", training(status.training)],
    ["Serving", serving(overview, age)],
    ["Learning", learning(overview)],
    ["Machine", machine(status)],
    ["Configuration", configuration(status.config)],
  ];
}

function training(t) {
  if (!t) return ["nothing", "no job is claimed"];
  return [
    t.step === null ? t.phase : `step ${t.step} of ${t.total_steps}`,
    t.loss !== null && `loss ${fixed(t.loss, 3)}`, t.tokens_per_s !== null && `${whole(t.tokens_per_s)} tok/s`,
    t.eta_s !== null && `${duration(t.eta_s)} left`, `${t.model}, ${t.phase}`, t.job,
  ];
}

function serving(overview, age) {
  const s = overview.status.serving;
  if (!s) return ["nothing yet", "no checkpoint was deployed"];
  const proved = duration(overview.proof_age_s === null ? null : overview.proof_age_s + age);
  const proof = overview.proof_is_late ? `NOT proved for ${proved}` : `proved ${proved} ago`;
  return [overview.oracle_is_up ? "up" : "the oracle is not up", s.checkpoint, `on ${s.host}`, overview.oracle_is_up && proof];
}

function learning(overview) {
  if (overview.skills === null) return ["unknown", "no curriculum computed yet"];
  const skills = overview.skills.map((s) =>
    s.mastered_level >= s.target_level
      ? `${s.skill} done (mastered ${s.mastered_level})`
      : `${s.skill} level ${s.training_level} of ${s.target_level} (mastered ${s.mastered_level}, ${s.passes} of 3 passes)`);
  const best = (overview.ranking || [])[0];
  const first = best ? `${percent(best.accuracy)} right` : "nothing is ranked yet";
  return [first, overview.nothing_to_learn && "nothing to learn", ...skills, best && best.checkpoint];
}

function machine(status) {
  const { free_bytes: free, floor_bytes: floor } = status.disk;
  const gpus = status.gpus.map((g) => {
    const work = g.utilisation === null ? "" : `, ${percent(g.utilisation)} busy`;
    return `${g.name} ${bytes(g.memory_used_bytes)} of ${bytes(g.memory_total_bytes)}${work}`;
  });
  return [`${bytes(free)} free`, floor !== null && `floor ${bytes(floor)}`, ...(gpus.length ? gpus : ["no GPU"])];
}

function configuration(config) {
  if (!config) return ["unknown"];
  if (config.state === "good") return ["good", `in force since ${when(config.in_force_at)}`];
  return ["REFUSED", config.where, config.reason, config.in_force_at && `still in force: that of ${when(config.in_force_at)}`];
}

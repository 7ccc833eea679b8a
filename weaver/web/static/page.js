"use strict";

const element = (id) => document.getElementById(id);
let now = null;

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${String(s % 60).padStart(2, "0")}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h${String(Math.floor((s % 3600) / 60)).padStart(2, "0")}m`;
  return `${Math.floor(s / 86400)}d${String(Math.floor((s % 86400) / 3600)).padStart(2, "0")}h`;
}

const bytes = (count) => (count === null ? "?" : `${(count / 1e9).toFixed(1)} GB`);
const shown = (value) => (value === null || value === undefined ? "-" : String(value));

function cell(text, mark) {
  const td = document.createElement("td");
  td.textContent = shown(text);
  if (mark) td.className = mark;
  return td;
}

function markOf(state) {
  if (state === "RUNNING" || state === "healthy") return "good";
  if (["STARTING", "STOPPING", "BACKOFF", "degraded"].includes(state)) return "fair";
  return "bad";
}

function programs(rows) {
  return rows.map((row) => {
    const tr = document.createElement("tr");
    tr.append(
      cell(row.name), cell(row.state, markOf(row.state)), cell(row.pid), cell(duration(row.up_s)), cell(row.restarts),
      cell(duration(row.heartbeat_age_s)), cell(row.last_exit), cell(row.note),
    );
    return tr;
  });
}

function training(t) {
  if (!t) return "nothing: no job is claimed";
  const step = t.step === null ? "not begun" : `step ${t.step} of ${t.total_steps}`;
  const loss = t.loss === null ? "" : `, loss ${t.loss.toFixed(3)}`;
  const speed = t.tokens_per_s === null ? "" : `, ${Math.round(t.tokens_per_s)} tokens/s`;
  const left = t.eta_s === null ? "" : `, ${duration(t.eta_s)} left`;
  return `${t.model} ${t.phase}: ${step}${loss}${speed}${left} (${t.job})`;
}

function serving(overview) {
  const s = overview.status.serving;
  if (!s) return "nothing yet: no checkpoint was deployed";
  const age = duration(overview.proof_age_s);
  const proof = overview.proof_is_late ? `NOT proved for ${age}` : `proved ${age} ago`;
  return `${s.checkpoint} on ${s.host}, ${overview.oracle_is_up ? proof : "but the oracle is not up"}`;
}

function learning(overview) {
  if (overview.skills === null) return "unknown: no curriculum computed yet";
  const skills = overview.skills.map((s) =>
    s.mastered_level >= s.target_level
      ? `${s.skill} done (mastered ${s.mastered_level})`
      : `${s.skill} level ${s.training_level} (mastered ${s.mastered_level}, ${s.passes} of 3 passes)`);
  return (overview.nothing_to_learn ? "nothing to learn: " : "") + (skills.join(" · ") || "no skill is enabled");
}

function facts(overview) {
  const status = overview.status;
  const q = status.queue;
  const ranking = (overview.ranking || []).map((r) => `${r.place}. ${r.checkpoint} ${(100 * r.accuracy).toFixed(1)} %`);
  const gpus = status.gpus.map((g) => `${g.name} ${bytes(g.memory_used_bytes)} of ${bytes(g.memory_total_bytes)}`);
  const floor = status.disk.floor_bytes === null ? "" : `, floor ${bytes(status.disk.floor_bytes)}`;
  return [
    ["Queue", `${q.paused ? "PAUSED, " : ""}inbox ${q.inbox}, high ${q.high}, normal ${q.normal}, low ${q.low}, processing ${q.processing}`],
    ["Ended", `completed ${q.completed}, failed ${q.failed}, rejected ${q.rejected}`],
    ["Training", training(status.training)],
    ["Serving", serving(overview)],
    ["Learning", learning(overview)],
    ["Ranking", ranking.join("  ") || "nothing is ranked yet"],
    ["Oracle", shown(status.oracle)],
    ["GPU", gpus.join("; ") || "no GPU"],
    ["Disk", `${bytes(status.disk.free_bytes)} free${floor}`],
    ["Home", `${status.home} on host ${status.host}`],
  ];
}

function show() {
  const status = now.status;
  element("state").textContent = status.state.toUpperCase();
  element("state").className = `state ${markOf(status.state)}`;
  const weaver = status.supervisor ? `Weaver pid ${status.supervisor.pid}, up ${duration(status.supervisor.up_s)}` : "no Weaver";
  element("about").textContent = `${weaver}; ${status.checked_at}`;
  element("programs").replaceChildren(...programs(status.daemons));
  element("problems").hidden = now.problems.length === 0;
  element("problems").querySelector("ul").replaceChildren(...now.problems.map((text) => {
    const li = document.createElement("li");
    li.textContent = text;
    return li;
  }));
  element("facts").replaceChildren(...facts(now).flatMap(([name, text]) => {
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = text;
    return [dt, dd];
  }));
}

function apply(operations) {
  for (const { path, value } of operations) {
    if (path === "") {
      now = value;
      continue;
    }
    const keys = path.slice(1).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = keys.pop();
    let target = now;
    for (const key of keys) target = target[key];
    target[last] = value;
  }
}

const source = new EventSource("/api/events");
source.addEventListener("snapshot", (event) => { now = JSON.parse(event.data); show(); });
source.addEventListener("patch", (event) => { apply(JSON.parse(event.data)); show(); });
source.addEventListener("open", () => document.body.classList.remove("gone"));
source.addEventListener("error", () => {
  document.body.classList.add("gone");
  element("about").textContent = "Weaver does not answer; what is below is old. Trying again ...";
});

/* One job in detail: why it lies where it lies, its refused lines, its attempts. */

import { element, fill, make, say, table } from "./elements.js";
import { bytes, fixed, when, whole } from "./words.js";

export function showJob(job) {
  const detail = element("job");
  detail.hidden = false;
  say(detail.querySelector("h3"), job.name || job.id);
  const parts = [facts(job)];
  if (job.refused && job.refused.length) parts.push(refused(job));
  if (job.attempts && job.attempts.length) parts.push(attempts(job));
  element("about-job").replaceChildren(...parts);
  detail.querySelector("h3").focus();
}

function facts(job) {
  const why = job.error || (job.why && `${job.why.code}: ${job.why.message}`);
  const shown = [["Job", job.id], ["State", job.state], ["Reason", why]];
  if (!job.error) {
    const { lines, tokens, generator, result } = job;
    shown.push(
      ["Dropped", `${when(job.received_at)}, ${bytes(job.bytes)}, by ${generator ? `${generator.id} ${generator.version}` : job.source}`],
      ["Format", job.spec],
      ["Lines", lines && `${whole(lines.accepted)} accepted, ${whole(lines.rejected)} refused, ${whole(lines.duplicate)} duplicate`],
      ["Tokens", tokens && `${whole(tokens.total)}; median ${whole(tokens.median)}, longest ${whole(tokens.max)}`],
      ["For", job.made_for ? `${job.model}, made for ${job.made_for}` : job.model],
      ["Progress", job.progress && `step ${job.progress.step} of ${job.progress.total_steps}, loss ${fixed(job.progress.loss, 3)}`],
      ["Ended", result && `${result.outcome}${result.checkpoint ? `, in ${result.checkpoint}` : ""}`],
    );
  }
  const known = shown.filter(([, text]) => text);
  return make("dl", {}, ...known.flatMap(([title, text]) => [make("dt", {}, title), make("dd", {}, text)]));
}

function refused(job) {
  const made = table("Refused lines", [["Line", "number"], ["Code"], ["Why", "long"], ["It begins", "long code"]]);
  fill(made, job.refused, (line) => line.line, (line) => [line.line, line.code, line.reason, line.text]);
  const title = job.more ? "The first refused lines" : "Refused lines";
  return make("div", {}, make("h4", {}, title), made.whole);
}

function attempts(job) {
  const made = table("Attempts", [["At"], ["Event"], ["Outcome"], ["Step", "number"], ["Steps again", "number"], ["Detail", "long"]]);
  fill(made, job.attempts.map((one, place) => ({ ...one, place })), (one) => one.place, (one) => [
    when(one.at), one.event, one.outcome, one.step, one.replayed, one.detail,
  ]);
  return make("div", {}, make("h4", {}, "Attempts"), made.whole);
}

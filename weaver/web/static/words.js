/* Figures as people read them. What nobody knows is a dash, never a zero. */

const known = (value) => value !== null && value !== undefined;

export function duration(seconds) {
  if (!known(seconds)) return "-";
  const s = Math.max(0, Math.floor(seconds));
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h${two((s % 3600) / 60)}m`;
  return `${Math.floor(s / 86400)}d${two((s % 86400) / 3600)}h`;
}

export function bytes(count) {
  if (!known(count)) return "?";
  const unit = [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]].find(([, size]) => count >= size);
  return unit ? `${(count / unit[1]).toFixed(1)} ${unit[0]}` : `${count} bytes`;
}

export const fixed = (value, digits) => (known(value) ? value.toFixed(digits) : "-");
export const percent = (share) => (known(share) ? `${(100 * share).toFixed(1)} %` : "-");
export const whole = (value) => (known(value) ? Math.round(value).toLocaleString("en") : "-");
export const when = (iso) => (known(iso) ? iso.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC") : "-");
export const seconds = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;

const GOOD = ["RUNNING", "healthy", "completed"];
const FAIR = ["STARTING", "STOPPING", "BACKOFF", "degraded", "processing"];
const CALM = ["high", "normal", "low", "inbox", "validating"];

/* Give the class that colours a state; the word itself always stands beside the colour. */
export function markOf(state) {
  if (GOOD.includes(state)) return "good";
  if (FAIR.includes(state)) return "fair";
  return CALM.includes(state) ? "calm" : "bad";
}

/* Asking Weaver over HTTP: JSON in and out; an error is what Weaver says, in its own words. */

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, body) {
  const options = body === undefined
    ? {}
    : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, "Weaver does not answer. Nothing is known to have changed; try again.");
  }
  return read(answer.status, await answer.text());
}

/* Give the JSON of a good answer, or throw what was refused. */
export function read(status, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refused(status, `The answer is no JSON (HTTP ${status}): is this Weaver?`);
  }
  if (status >= 400) throw new Refused(status, value.error ? value.error.message : `HTTP ${status}`);
  return value;
}

/* The overview, live: a snapshot and then patches from /api/events, read with fetch, because an EventSource hides the comments
 * that say "still here". After a break it goes on after the last id it saw, and the server sends what was missed. */

export const QUIET_S = 20;
const GIVE_UP_S = 45;
const LONGEST_WAIT_MS = 10_000;

const now = () => performance.now() / 1000;

export class Stream {
  overview = null;
  trouble = "";
  #changed;
  #lastId = "";
  #heardAt = now();
  #gotAt = now();

  constructor(changed) {
    this.#changed = changed;
  }

  /* Seconds since anything came, comments included. */
  get quiet() {
    return now() - this.#heardAt;
  }

  /* Seconds since the overview was as new as it is: what its ages have grown by. */
  get age() {
    return now() - this.#gotAt;
  }

  /* The connection is lost, or nothing new came over it: at once, or after QUIET_S. */
  get isStale() {
    return this.trouble !== "" || this.age >= QUIET_S;
  }

  /* Listen for ever, connecting again whenever the connection ends. */
  async follow() {
    for (let failures = 0; ; failures++) {
      const began = this.#heardAt;
      try {
        await this.#listen();
        this.trouble = "Weaver ended the connection.";
      } catch (error) {
        this.trouble = error.trouble || "Weaver does not answer.";
      }
      if (this.#heardAt !== began) failures = 0;
      this.#changed();
      const wait = Math.min(500 * 2 ** failures, LONGEST_WAIT_MS);
      await new Promise((resume) => setTimeout(resume, wait));
    }
  }

  async #listen() {
    const abort = new AbortController();
    const began = now();
    const watch = setInterval(() => {
      if (now() - Math.max(began, this.#heardAt) > GIVE_UP_S) abort.abort();
    }, 1000);
    try {
      const headers = this.#lastId ? { "last-event-id": this.#lastId } : {};
      const answer = await fetch("/api/events", { headers, signal: abort.signal });
      if (!answer.ok) throw await refusal(answer);
      await this.#read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    } finally {
      clearInterval(watch);
    }
  }

  async #read(reader) {
    for (let held = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) return;
      this.#heardAt = now();
      this.trouble = "";
      const events = (held + value).split("\n\n");
      held = events.pop();
      for (const text of events) this.#take(text);
      this.#changed();
    }
  }

  #take(text) {
    const fields = Object.fromEntries(
      text.split("\n").filter((line) => line[0] !== ":").map((line) => {
        const colon = line.indexOf(": ");
        return [line.slice(0, colon), line.slice(colon + 2)];
      }),
    );
    if (!fields.data) return;
    const data = JSON.parse(fields.data);
    this.overview = fields.event === "snapshot" ? data : patched(this.overview, data);
    this.#lastId = fields.id;
    this.#gotAt = now();
  }
}

async function refusal(answer) {
  const error = new Error(`HTTP ${answer.status}`);
  error.trouble = answer.status === 401
    ? "The login has ended: run `weaver open` and follow the link."
    : `Weaver refuses (HTTP ${answer.status}): ${(await answer.json()).error.message}`;
  return error;
}

/* Carry out the `replace` operations of a patch (RFC 6902). */
export function patched(overview, operations) {
  for (const { path, value } of operations) {
    if (path === "") {
      overview = value;
      continue;
    }
    const keys = path.slice(1).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = keys.pop();
    let target = overview;
    for (const key of keys) target = target[key];
    target[last] = value;
  }
  return overview;
}

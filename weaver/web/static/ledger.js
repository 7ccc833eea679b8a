/* Checkpoints and the lineage of data: two views that are read when they are opened, and again with its button. */

import { ask } from "./ask.js";
import { element, fill, make, say, table } from "./elements.js";
import { openJob } from "./queue.js";
import { bytes, fixed, percent, when, whole } from "./words.js";

const PAGE = 500;
const SHOWN = 200;

const checkpoints = table("Checkpoints", [
  ["Checkpoint", "name"], ["Step", "number roomy"], ["Accuracy", "number"], ["Loss", "number"], ["Marks"], ["Tokens seen", "number roomy"],
  ["Size", "number roomy"], ["Recorded", "roomy"],
]);
const MAKER = [
  ["Name", "name"], ["Version"], ["Files", "number"], ["Lines", "number"], ["Refused", "number"], ["Top reasons", "long"],
  ["Worst", "long"],
];
const makers = { generators: table("Generators", MAKER), validators: table("Validators", MAKER) };

export function startLedger() {
  element("checkpoints").append(checkpoints.whole);
  for (const [name, made] of Object.entries(makers)) element(name).append(made.whole);
}

/* Read every checkpoint there ever was, and show the newest. */
export async function loadLedger() {
  try {
    const rows = [];
    for (let after = 0; after !== null; ) {
      const page = await ask(`/api/ledger?limit=${PAGE}&after=${after}`);
      rows.push(...page.checkpoints);
      after = page.next;
    }
    const here = rows.filter((row) => row.present).length;
    const more = rows.length > SHOWN ? `; the newest ${SHOWN} are shown` : "";
    say(element("ledger-said"), rows.length ? `${whole(rows.length)} recorded, ${whole(here)} with weights${more}` : "No checkpoint yet.");
    checkpoints.whole.hidden = rows.length === 0;
    fill(checkpoints, rows.reverse().slice(0, SHOWN), (row) => row.id, (row) => [
      row.id, row.step, percent(row.accuracy), fixed(row.train_loss, 3), { text: marksOf(row), kind: row.served ? "good" : "" },
      whole(row.tokens_seen), bytes(row.bytes), when(row.created_at),
    ]);
  } catch (error) {
    say(element("ledger-said"), error.message);
  }
}

function marksOf(row) {
  const marks = [
    row.served && "served", row.head && "head", row.pinned && "pinned", !row.on_chain && "off the chain", !row.present && "removed",
  ];
  return marks.filter(Boolean).join(", ");
}

/* Read the tallies per generator and validator. */
export async function loadLineage() {
  try {
    const lineage = await ask("/api/lineage");
    const unreadable = lineage.unreadable ? `, ${lineage.unreadable} cannot be read` : "";
    say(element("lineage-said"), `${whole(lineage.jobs)} files were dropped${unreadable}`);
    for (const [name, made] of Object.entries(makers)) {
      fill(made, lineage[name], (row) => `${row.id} ${row.version}`, (row) => [
        row.id, row.version, `${whole(row.jobs.passed)} of ${whole(row.jobs.total)}`,
        `${whole(row.lines.passed)} of ${whole(row.lines.total)}`, percent(row.fail_rate),
        row.reasons.map((one) => `${one.code} ${whole(one.lines)} lines, ${whole(one.jobs)} files`).join("; "),
        { key: JSON.stringify(row.worst), node: () => worst(row.worst) },
      ]);
    }
  } catch (error) {
    say(element("lineage-said"), error.message);
  }
}

function worst(offenders) {
  const items = offenders.map((one) => make(
    "li", {}, make("button", { class: "link", onclick: () => openJob(one.job) }, one.name),
    one.failed_share === null ? "" : ` ${percent(one.failed_share)}`, one.reason ? ` ${one.reason.code}` : "",
  ));
  return items.length ? make("ul", {}, ...items) : make("span", {}, "-");
}

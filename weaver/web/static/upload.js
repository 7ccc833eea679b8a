/* Dropping files: each is sent on its own, then its receipt is asked for until there is a verdict. */

import { ask, read } from "./ask.js";
import { element, make, say } from "./elements.js";
import { openJob } from "./queue.js";
import { bytes, whole } from "./words.js";

const ASK_EVERY_MS = 1000;

/* Wire chooser, form and the area that files are dragged to; once. */
export function startUpload() {
  const area = element("area");
  element("form").addEventListener("submit", (event) => {
    event.preventDefault();
    send(element("files").files);
    element("files").value = "";
  });
  for (const kind of ["dragenter", "dragover"]) {
    area.addEventListener(kind, (event) => {
      event.preventDefault();
      area.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) area.addEventListener(kind, () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    send(event.dataTransfer.files);
  });
}

async function send(files) {
  if (files.length === 0) say(element("chosen"), "Choose a file first.");
  else say(element("chosen"), "");
  const sidecar = sidecarOf();
  for (const file of files) await sendOne(file, sidecar);
}

/* Give the sidecar that the form asks for, or null. */
function sidecarOf() {
  const columns = {};
  for (const name of ["prompt", "completion"]) {
    const column = element(name).value.trim();
    if (column) columns[name] = column;
  }
  const priority = element("priority").value;
  if (!priority && Object.keys(columns).length === 0) return null;
  return { schema: "weaver.sidecar/1", ...(Object.keys(columns).length && { columns }), ...(priority && { priority }) };
}

async function sendOne(file, sidecar) {
  const bar = make("progress", { max: "1", value: "0", "aria-label": `sending ${file.name}` });
  const said = make("p", {}, "sending ...");
  const about = make("span", { class: "rest" }, bytes(file.size));
  const item = make("li", {}, make("strong", {}, file.name), " ", about, bar, said);
  element("receipts").prepend(item);
  try {
    const { drop } = await post(file, sidecar, bar);
    say(said, `taken as ${drop}; it waits to be read`);
    follow(drop, said);
  } catch (error) {
    verdict(said, error.message, "bad");
  }
  bar.remove();
}

/* Send with XMLHttpRequest: fetch does not tell how much was sent. */
function post(file, sidecar, bar) {
  const form = new FormData();
  if (sidecar) form.append("sidecar", JSON.stringify(sidecar));
  form.append("file", file, file.name);
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) bar.value = event.loaded / event.total;
    });
    request.addEventListener("error", () => failed(new Error("The connection broke; nothing was kept. Send it again.")));
    request.addEventListener("load", () => {
      try {
        done(read(request.status, request.responseText));
      } catch (error) {
        failed(error);
      }
    });
    request.open("POST", "/api/inbox");
    request.send(form);
  });
}

/* Ask for the receipt until the drop is a job; a Weaver that does not answer for a while is asked again. */
async function follow(drop, said) {
  for (;;) {
    await new Promise((resume) => setTimeout(resume, ASK_EVERY_MS));
    try {
      const receipt = await ask(`/api/inbox/${encodeURIComponent(drop)}`);
      if (receipt.job) return show(receipt, said);
      say(said, receipt.state === "inbox" ? "in the inbox; it waits to be read" : "being read ...");
    } catch (error) {
      if (error.status !== 0) return verdict(said, error.message, "bad");
    }
  }
}

function show(receipt, said) {
  const { lines, reason, state } = receipt;
  const counted = lines ? `${whole(lines.accepted)} of ${whole(lines.dropped)} lines accepted` : "";
  if (state === "rejected") verdict(said, `rejected: ${reason ? `${reason.code}: ${reason.message}` : "see the job"}`, "bad");
  else verdict(said, `accepted, in ${state}: ${counted}`, "good");
  said.append(" ", make("button", { class: "link", onclick: () => openJob(receipt.job) }, receipt.job));
}

function verdict(said, text, mark) {
  say(said, text);
  said.className = mark;
}

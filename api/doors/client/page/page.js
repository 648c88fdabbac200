"use strict";
// A ticket in the address is all this page has: what it allows is in its claims, which the service
// checks again on every request. `uploads.js` sends; this file shows.
const token = new URLSearchParams(location.search).get("token") || "";
const at = (id) => document.getElementById(id);
const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const NOT_VALID = "This ticket is not valid; ask for a new one.";
const WORDS = { waiting: "waiting", sending: "", offline: "", exists: "", done: "", failed: "", cancelled: "" };

function claims() {
  const part = token.split(".")[1] || "";
  const bytes = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0))));
}

function size(bytes) {
  let unit = 0;
  let shown = bytes;
  while (shown >= 1024 && unit < UNITS.length - 1) { shown /= 1024; unit += 1; }
  return `${unit ? shown.toFixed(1) : shown} ${UNITS[unit]}`;
}

function button(text, name, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.setAttribute("aria-label", `${text} ${name}`);
  made.addEventListener("click", act);
  return made;
}

// One line per file.
class Row {
  constructor(queue, item) {
    this.element = document.createElement("li");
    const label = Object.assign(document.createElement("span"), { className: "name" });
    label.textContent = `${item.name} (${size(item.file.size)})`;
    this.bar = Object.assign(document.createElement("progress"), { max: 1, value: 0 });
    this.bar.setAttribute("aria-label", item.name);
    this.text = Object.assign(document.createElement("span"), { className: "state" });
    this.acts = Object.assign(document.createElement("span"), { className: "acts" });
    this.element.append(label, this.bar, this.text, this.acts);
    Object.assign(this, { queue, state: null });
  }

  show(item) {
    const share = item.file.size ? item.sent / item.file.size : Number(item.state === "done");
    this.bar.value = share;
    const sending = item.state === "sending" ? `${Math.floor(100 * share)} %` : "";
    this.text.textContent = item.text || sending || WORDS[item.state];
    if (this.state === item.state) return;
    this.state = item.state;
    this.element.dataset.state = item.state;
    const { queue } = this;
    const acts = {
      waiting: () => [button("Cancel", item.name, () => queue.cancel(item))],
      exists: () => [
        button("Replace", item.name, () => queue.retry(item, true)),
        button("Skip", item.name, () => queue.skip(item)),
      ],
      failed: () => (item.final ? [] : [button("Retry", item.name, () => queue.retry(item))]),
      cancelled: () => [button("Retry", item.name, () => queue.retry(item))],
      done: () => [],
    };
    acts.sending = acts.offline = acts.waiting;
    this.acts.replaceChildren(...acts[item.state]());
  }
}

class UploadPage {
  constructor(ticket) {
    this.ticket = ticket;
    this.rows = new Map();
    const endpoint = `upload?token=${encodeURIComponent(token)}`;
    this.queue = new UploadQueue(endpoint, ticket.session, (item) => this.changed(item));
    // A long path is not in the ticket: then the service alone knows the name.
    this.only = ticket.tree ? "" : (ticket.relpath || "").split("/").pop();
  }

  open() {
    const { ticket, only } = this;
    title(ticket.tree ? "Upload files" : "Upload a file");
    at("upload").hidden = false;
    at("folder-label").hidden = !ticket.tree;
    at("drop").textContent = ticket.tree ? "Drop files or a folder here, or choose files" : `Drop ${only || "the file"} here, or choose it`;
    const top = ticket.relpath === "." ? "in the folder" : `below ${ticket.relpath}`;
    const below = ticket.relpath ? top : ticket.selection ? "in the directory of this link" : "in the folder";
    const where = ticket.tree ? `Files are stored ${below}, each of at most ${size(ticket.size)}.`
      : `This link takes one file${only ? `, ${ticket.relpath}` : ""}, of at most ${size(ticket.size)}.`;
    at("about").textContent = `${where} ${ends(ticket)} An interrupted upload goes on when its file is chosen again.`;
    at("files").multiple = ticket.tree;
    for (const input of [at("files"), at("folder")]) {
      input.addEventListener("change", () => {
        this.take([...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
        input.value = "";  // the same files can be chosen again
      });
    }
    const drop = at("drop");
    drop.addEventListener("click", () => at("files").click());
    drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => this.dropped(event));
    at("cancel").addEventListener("click", () => this.each((item) => this.queue.cancel(item)));
    at("retry").addEventListener("click", () => this.each((item) => item.state === "failed" && this.queue.retry(item)));
    at("replace").addEventListener("click", () => this.each((item) => item.state === "exists" && this.queue.retry(item, true)));
    window.addEventListener("beforeunload", (event) => { if (this.queue.totals.open) event.preventDefault(); });
  }

  async dropped(event) {
    event.preventDefault();
    at("drop").classList.remove("over");
    const files = [...event.dataTransfer.files];
    const roots = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    if (!roots.length) { this.take(files.map((file) => ({ file, name: file.name }))); return; }
    if (!this.ticket.tree && roots.some((root) => root.isDirectory)) { this.refuse(); return; }
    const found = [];
    for (const root of roots) await entries(root, found);
    this.take(found);
  }

  take(found) {
    at("refused").textContent = "";
    const { only, ticket } = this;
    if (!found.length) return;
    if (!ticket.tree && (found.length > 1 || (only && found[0].file.name !== only))) { this.refuse(); return; }
    const order = new Intl.Collator(undefined, { numeric: true }).compare;
    found.sort((one, other) => order(one.name, other.name));
    for (const { file, name } of found) this.queue.add(file, ticket.tree ? name : only || name, ticket.size);
  }

  refuse() {
    at("refused").textContent = `This link takes one file${this.only ? ` with the name ${this.only}` : ""}. Nothing was sent.`;
  }

  each(act) { for (const item of [...this.queue.items.values()]) act(item); }

  changed(item) {
    let row = this.rows.get(item.name);
    if (!row || row.item !== item) {
      const made = new Row(this.queue, item);
      made.item = item;
      if (row) row.element.replaceWith(made.element); else at("list").append(made.element);
      this.rows.set(item.name, made);
      row = made;
    }
    row.show(item);
    this.total();
  }

  total() {
    const all = this.queue.totals;
    const more = [all.failed && `${all.failed} failed`, all.asking && `${all.asking} exist already`].filter(Boolean);
    at("total").textContent = `${all.done} of ${all.files} files uploaded, ${size(all.sent)} of ${size(all.bytes)}`
      + more.map((text) => `, ${text}`).join("");
    at("all").hidden = false;
    at("all").value = all.bytes ? all.over / all.bytes : Number(!all.open && !all.asking);
    at("cancel").hidden = !all.open;
    at("retry").hidden = !all.again;
    at("replace").hidden = !all.asking;
  }
}

async function entries(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((ok, no) => entry.file(ok, no));
    found.push({ file, name: entry.fullPath.slice(1) });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((ok, no) => reader.readEntries(ok, no));
    if (!some.length) return;
    for (const one of some) await entries(one, found);
  }
}

function refuseTicket() {
  at("download").hidden = true;
  at("about").textContent = NOT_VALID;
}

function title(text) { document.title = at("title").textContent = text; }

function ends(ticket) { return `This link ends on ${new Date(ticket.exp * 1000).toLocaleString()}.`; }

async function offerDownload(ticket) {
  title("Download");
  at("download").hidden = false;
  const archive = Boolean(ticket.operation || ticket.archive);
  const link = `${ticket.operation ? "download-archive" : "download"}?token=${encodeURIComponent(token)}`;
  at("link").href = link;
  at("formats").hidden = !archive;
  for (const other of at("formats").querySelectorAll("a")) other.href = `${link}&format=${other.dataset.format}`;
  const name = ticket.relpath || ticket.filename || (ticket.files || []).join(", ") || "the selected entries";
  at("about").textContent = `${name}. ${ends(ticket)}`;
  if (archive) return;  // its length is known only after its plan
  const answer = await fetch(link, { method: "HEAD" });
  if (answer.status === 401 || answer.status === 403) { refuseTicket(); return; }
  const length = answer.headers.get("Content-Length");
  const known = answer.ok && length !== null ? ` (${size(Number(length))})` : answer.ok ? "" : " is not there";
  at("about").textContent = `${name}${known}. ${ends(ticket)}`;
}

function begin() {
  const ticket = claims();
  if (typeof ticket.exp !== "number") throw new TypeError("no claims");
  if (ticket.exp * 1000 < Date.now()) at("about").textContent = "This ticket has expired; ask for a new one.";
  else if (ticket.op === "upload") new UploadPage(ticket).open();
  else offerDownload(ticket).catch(() => {});  // the link itself says what is wrong
}

if (!token) {
  at("about").textContent = "This page needs a ticket in its address: ?token=…";
} else {
  try { begin(); } catch { at("about").textContent = NOT_VALID; }
}

"use strict";
// A ticket in the address is all this page has: what it allows is in its claims, which the service
// checks again on every request. A reload goes on where it was: tus-js-client keeps each file's
// URL in the browser's storage until its last byte is there.
const token = new URLSearchParams(location.search).get("token") || "";
const at = (id) => document.getElementById(id);
const counts = { files: 0, done: 0, failed: 0 };

function claims() {
  const part = token.split(".")[1];
  if (!part) return null;
  const bytes = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0))));
}

function total() {
  const failed = counts.failed ? `, ${counts.failed} failed` : "";
  at("total").textContent = `${counts.done} of ${counts.files} files uploaded${failed}`;
}

function row(name) {
  const item = document.createElement("li");
  const label = Object.assign(document.createElement("span"), { className: "name", textContent: name });
  const bar = Object.assign(document.createElement("progress"), { max: 1, value: 0 });
  const state = document.createElement("span");
  bar.setAttribute("aria-label", name);
  item.append(label, bar, state);
  at("list").append(item);
  return { bar, state };
}

function send(file, name, ticket) {
  return new Promise((finished) => {
    const shown = row(name);
    const end = (text, failed) => {
      shown.state.textContent = text;
      shown.state.classList.toggle("failed", failed);
      counts[failed ? "failed" : "done"] += 1;
      total();
      finished();
    };
    const upload = new tus.Upload(file, {
      endpoint: `upload?token=${encodeURIComponent(token)}`,
      chunkSize: 16 * 1024 * 1024,
      retryDelays: [0, 1000, 3000, 5000, 10000, 20000],
      metadata: { relativePath: name },
      fingerprint: () => Promise.resolve(
        ["vfolder", ticket.session, name, file.size, file.lastModified].join("|")),
      removeFingerprintOnSuccess: true,
      onProgress: (sent, all) => {
        shown.bar.value = all ? sent / all : 1;
        shown.state.textContent = `${Math.floor(all ? (100 * sent) / all : 100)} %`;
      },
      onSuccess: () => { shown.bar.value = 1; end("done", false); },
      onError: (error) => end(reason(error), true),
    });
    upload.findPreviousUploads().then((earlier) => {
      if (earlier.length) upload.resumeFromPreviousUpload(earlier[0]);
      upload.start();
    });
  });
}

function reason(error) {
  const answer = error.originalResponse;
  try { return JSON.parse(answer.getBody()).detail; } catch { return "failed; choose it again to go on"; }
}

async function sendAll(found, ticket) {
  const todo = ticket.tree ? found : found.slice(0, 1);
  counts.files += todo.length;
  total();
  const work = async () => {
    for (let next = todo.shift(); next; next = todo.shift()) await send(next.file, next.name, ticket);
  };
  await Promise.all([work(), work(), work()]);
}

async function entries(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((ok, no) => entry.file(ok, no));
    found.push({ file, name: entry.fullPath.slice(1) });
    return found;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((ok, no) => reader.readEntries(ok, no));
    if (!some.length) return found;
    for (const one of some) await entries(one, found);
  }
}

function offerUpload(ticket) {
  at("upload").hidden = false;
  at("folder-label").hidden = !ticket.tree;
  const where = ticket.tree ? `below ${ticket.relpath || "the top of the folder"}` : `as ${ticket.relpath}`;
  at("about").textContent = `Files are stored ${where}. An interrupted upload goes on when its file is chosen again.`;
  const chosen = (event) => sendAll(
    [...event.target.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })), ticket);
  at("files").multiple = ticket.tree;
  at("files").addEventListener("change", chosen);
  at("folder").addEventListener("change", chosen);
  const drop = at("drop");
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const roots = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    const found = [];
    for (const root of roots) await entries(root, found);
    sendAll(found, ticket);
  });
}

function offerDownload(ticket) {
  at("download").hidden = false;
  const path = ticket.operation ? "download-archive" : "download";
  const link = `${path}?token=${encodeURIComponent(token)}`;
  at("link").href = link;
  at("formats").hidden = !(ticket.operation || ticket.archive);
  for (const other of at("formats").querySelectorAll("a")) other.href = `${link}&format=${other.dataset.format}`;
  at("about").textContent = ticket.relpath || ticket.filename || (ticket.files || []).join(", ") || "the selected entries";
}

try {
  const ticket = claims();
  if (!ticket) at("about").textContent = "This page needs a ticket in its address: ?token=…";
  else if (ticket.exp * 1000 < Date.now()) at("about").textContent = "This ticket has expired; ask for a new one.";
  else if (ticket.op === "upload") offerUpload(ticket);
  else offerDownload(ticket);
} catch {
  at("about").textContent = "This ticket cannot be read.";
}

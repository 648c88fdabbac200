"use strict";
// The uploads of one ticket, without a page: files wait, are sent by tus-js-client, and end. Each change
// is reported to the page. A file that was sent already is not sent again: tus-js-client keeps its
// address in the storage of the browser, and the service answers for a day how far an upload is.
const PARALLEL = 3;
const CHUNK_BYTES = 16 * 1024 * 1024;
const PAUSES_MS = [0, 1000, 3000, 5000];
const OFFLINE_PAUSE_MS = 5000;
const REMEMBERED_MS = 24 * 3600 * 1000;
const STORED = "tus::vfolder|";

class UploadQueue {
  // endpoint: where uploads are created; session: what tells tickets apart; changed(item) is called
  // after each change of an item.
  constructor(endpoint, session, changed) {
    Object.assign(this, { endpoint, session, changed, items: new Map(), running: 0 });
    window.addEventListener("online", () => this.goOn());
    this.forgetOld();
  }

  add(file, name, most) {
    const known = this.items.get(name);
    const same = known && known.file.size === file.size && known.file.lastModified === file.lastModified;
    if (same && ["waiting", "sending", "offline", "exists", "done"].includes(known.state)) return;
    if (known && !same) this.stop(known);
    // final: the same file would fail again.
    const item = { file, name, most, state: "waiting", sent: 0, text: "", replaces: false, final: false, upload: null };
    this.items.set(name, item);
    this.changed(item);
    this.next();
  }

  next() {
    for (const item of this.items.values()) {
      if (this.running >= PARALLEL) return;
      if (item.state !== "waiting") continue;
      if (item.file.size > item.most) this.refuse(item, "larger than this link allows");
      else this.send(item);
    }
  }

  async send(item) {
    this.running += 1;
    item.state = "sending";
    this.changed(item);
    const upload = new tus.Upload(item.file, {
      endpoint: this.endpoint,
      chunkSize: CHUNK_BYTES,
      retryDelays: PAUSES_MS,
      metadata: { relativePath: item.name },
      fingerprint: () => Promise.resolve(this.fingerprint(item)),
      removeFingerprintOnSuccess: false,
      // RFC 9110: nothing is replaced until its user says so.
      onBeforeRequest: (request) => {
        if (request.getMethod() === "POST" && !item.replaces) request.setHeader("If-None-Match", "*");
      },
      onProgress: (sent) => { item.sent = sent; this.changed(item); },
      onSuccess: () => { item.sent = item.file.size; this.leave(item, "done", "done"); },
      onError: (error) => this.fail(item, error),
    });
    item.upload = upload;
    const earlier = await upload.findPreviousUploads();
    if (item.upload !== upload || item.state !== "sending") return;
    if (earlier.length) upload.resumeFromPreviousUpload(earlier[earlier.length - 1]);
    upload.start();
  }

  fail(item, error) {
    const answer = error.originalResponse;
    const status = answer ? answer.getStatus() : 0;
    if (status === 0 || status === 429 || status >= 500) {
      item.state = "offline";
      item.text = `${status ? reason(answer) : "No connection."} It goes on by itself.`;
      this.changed(item);
      setTimeout(() => this.resume(item), OFFLINE_PAUSE_MS);
    } else if (status === 412) {
      this.leave(item, "exists", "exists already");
    } else {
      item.final = problem(answer).retriable === false;
      this.leave(item, "failed", reason(answer));
    }
  }

  refuse(item, text) {
    item.final = true;
    this.end(item, "failed", text);
  }

  resume(item) {
    if (item.state !== "offline") return;
    item.state = "sending";
    item.text = "";
    this.changed(item);
    item.upload.start();
  }

  goOn() { for (const item of this.items.values()) this.resume(item); }

  retry(item, replaces) {
    if (item.final) return;
    Object.assign(item, { state: "waiting", text: "", sent: 0, replaces: replaces || item.replaces });
    this.changed(item);
    this.next();
  }

  skip(item) { this.end(item, "cancelled", "skipped"); }

  cancel(item) {
    if (!["waiting", "sending", "offline", "exists"].includes(item.state)) return;
    this.stop(item);
    this.end(item, "cancelled", "cancelled");
    this.next();
  }

  stop(item) {
    if (item.state === "sending" || item.state === "offline") {
      this.running -= 1;
      item.upload.abort(true).catch(() => {});  // what stays behind is swept after a day
    }
    item.upload = null;
  }

  leave(item, state, text) {
    this.running -= 1;
    this.end(item, state, text);
    this.next();
  }

  end(item, state, text) {
    Object.assign(item, { state, text });
    this.changed(item);
  }

  get totals() {
    // over: bytes that nothing waits for any more.
    const all = { files: 0, bytes: 0, sent: 0, over: 0, done: 0, failed: 0, again: 0, open: 0, asking: 0 };
    for (const item of this.items.values()) {
      if (item.state === "cancelled") continue;
      all.files += 1;
      all.bytes += item.file.size;
      const failed = item.state === "failed";
      all.sent += failed ? 0 : item.sent;
      all.over += failed ? item.file.size : item.sent;
      all.again += Number(failed && !item.final);
      if (item.state === "done") all.done += 1;
      else if (failed) all.failed += 1;
      else if (item.state === "exists") all.asking += 1;
      else all.open += 1;
    }
    return all;
  }

  fingerprint(item) {
    return ["vfolder", this.session, item.name, item.file.size, item.file.lastModified].join("|");
  }

  forgetOld() {
    for (const key of Object.keys(localStorage).filter((one) => one.startsWith(STORED))) {
      let made = 0;
      try { made = Date.parse(JSON.parse(localStorage.getItem(key)).creationTime) || 0; } catch { made = 0; }
      if (Date.now() - made > REMEMBERED_MS) localStorage.removeItem(key);
    }
  }
}

function problem(answer) {
  try { return JSON.parse(answer.getBody()) || {}; } catch { return {}; }
}

function reason(answer) { return problem(answer).detail || `Failed (${answer.getStatus()}).`; }

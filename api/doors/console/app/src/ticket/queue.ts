/**
 * The uploads of one ticket, without a page: files wait, are sent by tus, and end. A file that was sent
 * already is not sent again: tus-js-client keeps its address in the storage of the browser, and the
 * service answers for a day how far an upload is.
 */
import { signal } from "@preact/signals";
import tus, { type DetailedError, type Upload } from "tus-js-client";
import type { Facts } from "../lib/api";
import { t } from "../texts";
import { withToken, type Ticket } from "./claims";

export type SentState = "waiting" | "sending" | "offline" | "exists" | "done" | "failed" | "cancelled";
export interface Sent {
  file: File;
  name: string;
  state: SentState;
  sent: number;
  /** What the page says beside the state. */
  text: string;
  replaces: boolean;
  /** The same file would fail again. */
  final: boolean;
  upload: Upload | null;
}

const PARALLEL = 3;
const CHUNK_BYTES = 16 * 1024 * 1024;
/** Smaller files go with the request that opens their upload. */
const SMALL_BYTES = 1024 * 1024;
const PAUSES_MS = [0, 1000, 3000, 5000];
const OFFLINE_PAUSE_MS = 5000;
const REMEMBERED_MS = 24 * 3600 * 1000;
const STORED = "tus::vfolder|";
const OPEN: SentState[] = ["waiting", "sending", "offline"];

/** By name, in the order in which they were chosen. It is no signal: it may have thousands of files. */
export const items = new Map<string, Sent>();
/** Rises when something changed; what shows items reads it. */
export const turn = signal(0);
let running = 0;
let scheduled = false;

/** Show what changed, at most once per frame. */
function changed(): void {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    turn.value++;
  });
}

export function add(ticket: Ticket, file: File, name: string): void {
  const known = items.get(name);
  const same = known && known.file.size === file.size && known.file.lastModified === file.lastModified;
  if (same && [...OPEN, "exists", "done"].includes(known.state)) return;
  if (known) stop(known);
  const item: Sent = { file, name, state: "waiting", sent: 0, text: "", replaces: false, final: false, upload: null };
  items.set(name, item);
  if (file.size > ticket.size) {
    item.final = true;
    end(item, "failed", t("ticket.too-large"));
  } else {
    changed();
    waiting.push(item);
    next(ticket);
  }
}

/** Items that were once waiting, in order. */
const waiting: Sent[] = [];
function next(ticket: Ticket): void {
  while (running < PARALLEL) {
    const item = waiting.shift();
    if (!item) return;
    if (item.state === "waiting") void send(ticket, item);
  }
}

async function send(ticket: Ticket, item: Sent): Promise<void> {
  running++;
  item.state = "sending";
  changed();
  const upload: Upload = new tus.Upload(item.file, {
    endpoint: withToken("upload"),
    chunkSize: CHUNK_BYTES,
    uploadDataDuringCreation: item.file.size <= SMALL_BYTES,
    retryDelays: PAUSES_MS,
    metadata: { relativePath: item.name },
    fingerprint: () => Promise.resolve(["vfolder", ticket.session, item.name, item.file.size, item.file.lastModified].join("|")),
    removeFingerprintOnSuccess: false,
    // RFC 9110: nothing is replaced until its user says so.
    onBeforeRequest: (request) => {
      if (request.getMethod() === "POST" && !item.replaces) request.setHeader("If-None-Match", "*");
    },
    onProgress: (sent) => {
      item.sent = sent;
      changed();
    },
    onSuccess: () => {
      item.sent = item.file.size;
      leave(ticket, item, "done");
    },
    onError: (error) => fail(ticket, item, error as DetailedError),
  });
  item.upload = upload;
  const earlier = await upload.findPreviousUploads();
  if (item.upload !== upload || item.state !== "sending") return;
  if (earlier.length) upload.resumeFromPreviousUpload(earlier[earlier.length - 1]!);
  upload.start();
}

function fail(ticket: Ticket, item: Sent, error: DetailedError): void {
  const status = error.originalResponse?.getStatus() ?? 0;
  const facts = factsOf(error);
  const detail = facts.detail ?? (status ? t("problem.unknown", { status }) : t("ticket.offline"));
  if (status === 0 || status === 429 || status >= 500) {
    item.state = "offline";
    item.text = t("ticket.goes-on", { detail });
    changed();
    setTimeout(() => resume(item), OFFLINE_PAUSE_MS);
  } else if (status === 412) {
    item.sent = 0; // a small file went with the question
    leave(ticket, item, "exists");
  } else {
    item.final = facts.retriable === false;
    leave(ticket, item, "failed", detail);
  }
}

function factsOf(error: DetailedError): Facts {
  try {
    return (JSON.parse(error.originalResponse?.getBody() ?? "null") as Facts | null) ?? {};
  } catch {
    return {};
  }
}

function resume(item: Sent): void {
  if (item.state !== "offline") return;
  item.state = "sending";
  item.text = "";
  changed();
  item.upload?.start();
}

export function retry(ticket: Ticket, item: Sent, replaces = false): void {
  if (item.final) return;
  Object.assign(item, { state: "waiting", text: "", sent: 0, replaces: replaces || item.replaces });
  changed();
  waiting.push(item);
  next(ticket);
}

export const skip = (item: Sent) => end(item, "cancelled", t("ticket.skipped"));

export function cancel(ticket: Ticket, item: Sent): void {
  if (![...OPEN, "exists"].includes(item.state)) return;
  stop(item);
  end(item, "cancelled", t("ticket.cancelled"));
  next(ticket);
}

function stop(item: Sent): void {
  if (item.state === "sending" || item.state === "offline") {
    running--;
    item.upload?.abort(true).catch(() => undefined); // what stays behind is swept after a day
  }
  item.upload = null;
}

function leave(ticket: Ticket, item: Sent, state: SentState, text = ""): void {
  running--;
  end(item, state, text);
  next(ticket);
}

function end(item: Sent, state: SentState, text: string): void {
  Object.assign(item, { state, text });
  changed();
}

export interface Totals {
  files: number;
  bytes: number;
  sent: number;
  /** Bytes that nothing waits for any more. */
  over: number;
  done: number;
  failed: number;
  again: number;
  open: number;
  asking: number;
}

export function totals(): Totals {
  const all = { files: 0, bytes: 0, sent: 0, over: 0, done: 0, failed: 0, again: 0, open: 0, asking: 0 };
  for (const item of items.values()) {
    if (item.state === "cancelled") continue;
    const failed = item.state === "failed";
    all.files++;
    all.bytes += item.file.size;
    all.sent += failed ? 0 : item.sent;
    all.over += failed ? item.file.size : item.sent;
    all.again += Number(failed && !item.final);
    all[item.state === "done" || item.state === "failed" ? item.state : item.state === "exists" ? "asking" : "open"]++;
  }
  return all;
}

/** Forget uploads that the service has forgotten, too. */
function forgetOld(): void {
  for (const key of Object.keys(localStorage).filter((one) => one.startsWith(STORED))) {
    let made = 0;
    try {
      made = Date.parse((JSON.parse(localStorage.getItem(key)!) as { creationTime: string }).creationTime) || 0;
    } catch {
      made = 0;
    }
    if (Date.now() - made > REMEMBERED_MS) localStorage.removeItem(key);
  }
}

forgetOld();
addEventListener("online", () => items.forEach(resume));
addEventListener("beforeunload", (event) => {
  if (totals().open) event.preventDefault();
});

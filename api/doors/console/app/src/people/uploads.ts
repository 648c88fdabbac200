/**
 * Uploads: a queue outside of the page's tree. Up to four files at a time by tus. What was sent before a
 * reload goes on: the server is asked (HEAD), and only its URL is remembered, under a digest.
 */
import { computed, effect, signal } from "@preact/signals";
import tus, { type DetailedError, type Upload } from "tus-js-client";
import { address, asProblem, call, post, Problem, type Facts } from "../lib/api";
import type { Found } from "../lib/chosen";
import { base64, beside, join, parent } from "../lib/names";
import { online, tryLater } from "../lib/online";
import { me } from "../lib/session";
import { base, reference, type VFolder } from "./vfolders";

export type UploadState = "waiting" | "running" | "done" | "failed" | "clash" | "skipped";
export interface Item {
  number: number;
  folder: VFolder;
  path: string;
  file: File;
  sent: number;
  state: UploadState;
  problem: Problem | null;
  /** Replace what is there: the version that the person saw, and no newer one. */
  replace: boolean;
  /** What has the name already. */
  there: There | null;
  /** How often it was begun: an older turn ends when it sees a newer one. */
  turns: number;
}
/** An entry that is in the way, as it was when the server refused. */
export interface There {
  etag: string | null;
  kind: string;
  size_bytes: number | null;
  modified_at: string | null;
}

const AT_A_TIME = 4;
const CHUNK_BYTES = 16 * 1024 * 1024;
/** Smaller files go with the request that opens their upload. */
const SMALL_BYTES = 1024 * 1024;
const RETRY_MS = [500, 2000, 5000, 10_000, 20_000, 30_000];
const KEY = "vfolder.upload.";
const DAY_MS = 86_400_000;
const DIRECTORIES_AT_ONCE = 1000;
const RATE_MS = 1000;
const SHOW_MS = 100;
/** The most names that "keep both" tries. */
const NAMES_MAX = 100;

/** All items of this visit. It is no signal: 50,000 items would be copied at each change. */
const items: Item[] = [];
const active = new Map<Item, Upload>();
/** Rises when something changed; pages that show items read it. */
export const turn = signal(0);
export const paused = signal(false);
/** What all clashes of this visit get, once chosen. */
let always: Choice | null = null;
export type Choice = "both" | "replace" | "skip";

export interface Counts {
  all: number;
  done: number;
  failed: number;
  clash: number;
  left: number;
  bytes: number;
  sent: number;
}
const counted = { all: 0, done: 0, failed: 0, clash: 0, left: 0, bytes: 0, sent: 0 };
export const counts = signal<Counts>({ ...counted });
export const rate = signal<number | null>(null);
export const isBusy = computed(() => counts.value.left > 0);

let scheduled = false;
/** Show what changed, soon: a tray of many small files changes hundreds of times in a second. */
function changed(): void {
  if (scheduled) return;
  scheduled = true;
  setTimeout(() => {
    scheduled = false;
    counts.value = { ...counted };
    turn.value++;
  }, SHOW_MS);
}

function enter(item: Item, state: UploadState): void {
  const weight = (one: UploadState) => (one === "waiting" || one === "running" ? "left" : one === "skipped" ? "done" : one);
  counted[weight(item.state) as "left"]--;
  counted[weight(state) as "left"]++;
  item.state = state;
  changed();
}

/** The items that are worth a look: those with a question first, then failed, running and waiting ones. */
export function worthALook(most: number): Item[] {
  const order: UploadState[] = ["clash", "failed", "running", "waiting", "done"];
  const found: Item[] = [];
  for (const state of order)
    for (const item of items) {
      if (found.length >= most) return found;
      if (item.state === state) found.push(item);
    }
  return found;
}

/** Put files into the queue; empty directories are made at once. */
export async function add(folder: VFolder, directory: string, found: Found[], emptyDirectories: string[] = []): Promise<void> {
  for (const { path, file } of found) {
    items.push({ number: items.length, folder, path: join(directory, path), file, sent: 0, state: "waiting", problem: null, replace: false, there: null, turns: 0 });
    counted.all++;
    counted.left++;
    counted.bytes += file.size;
  }
  changed();
  pump();
  for (let at = 0; at < emptyDirectories.length; at += DIRECTORIES_AT_ONCE)
    await post(`${base(folder)}/directories`, { paths: emptyDirectories.slice(at, at + DIRECTORIES_AT_ONCE).map((one) => join(directory, one)), parents: true });
}

let next = 0;
function pump(): void {
  while (!paused.value && !isWaiting.value && online.value && me.value && active.size < AT_A_TIME) {
    while (next < items.length && items[next]!.state !== "waiting") next++;
    const item = items[next];
    if (!item) return;
    next++;
    void begin(item);
  }
}

async function digest(item: Item): Promise<string> {
  const parts = [me.value?.subject.id, reference(item.folder), item.path, item.file.size, item.file.lastModified].join("\0");
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(parts));
  return KEY + [...new Uint8Array(bytes)].map((one) => one.toString(16).padStart(2, "0")).join("").slice(0, 40);
}

function remembered(key: string): string | null {
  try {
    return (JSON.parse(localStorage.getItem(key) ?? "null") as { url: string } | null)?.url ?? null;
  } catch {
    return null;
  }
}

/** Forget uploads that the server has forgotten, too. */
function forgetOld(): void {
  for (const key of Object.keys(localStorage).filter((one) => one.startsWith(KEY)))
    try {
      if (Date.now() - (JSON.parse(localStorage.getItem(key)!) as { at: number }).at > DAY_MS) localStorage.removeItem(key);
    } catch {
      localStorage.removeItem(key);
    }
}

async function begin(item: Item): Promise<void> {
  // It has its place at once: `pump` counts it while the digest is made.
  active.set(item, null as unknown as Upload);
  enter(item, "running");
  const turn = ++item.turns;
  const key = await digest(item);
  if (item.turns !== turn) return;
  if (item.state !== "running") return void active.delete(item);
  const known = remembered(key);
  let sends = false;
  const upload: Upload = new tus.Upload(item.file, {
    endpoint: `${base(item.folder)}/uploads`,
    uploadUrl: known,
    chunkSize: CHUNK_BYTES,
    uploadDataDuringCreation: item.file.size <= SMALL_BYTES,
    storeFingerprintForResuming: false,
    retryDelays: RETRY_MS,
    onBeforeRequest: (request) => {
      request.setHeader("X-VFolder", "1");
      sends ||= request.getMethod() !== "HEAD";
      if (request.getMethod() !== "POST") return;
      // Metadata of the library is text; the path is bytes.
      request.setHeader("Upload-Metadata", `relativePath ${base64(item.path)}`);
      if (item.replace && item.there?.etag) request.setHeader("If-Match", item.there.etag);
      else request.setHeader("If-None-Match", "*");
    },
    onShouldRetry: (error) => {
      const status = error.originalResponse?.getStatus() ?? 0;
      return status === 0 || status === 409 && !isClash(error) || status === 423 || status === 429 || status >= 500 && status !== 507;
    },
    onUploadUrlAvailable: () => {
      if (upload.url && item.file.size > 0) localStorage.setItem(key, JSON.stringify({ url: upload.url, at: Date.now() }));
    },
    onProgress: (sent) => {
      counted.sent += sent - item.sent;
      item.sent = sent;
      changed();
    },
    onSuccess: () => {
      localStorage.removeItem(key);
      if (sends) done(item);
      else void compare(item, upload, (there) => there?.size_bytes === item.file.size);
    },
    onError: (error) => failed(item, error as DetailedError, key, upload),
  });
  active.set(item, upload);
  upload.start();
}

function leave(item: Item, state: UploadState): void {
  active.delete(item);
  enter(item, state);
  pump();
}

function done(item: Item): void {
  counted.sent += item.file.size - item.sent;
  item.sent = item.file.size;
  leave(item, "done");
  landed(item);
}

function factsOf(error: DetailedError): Facts {
  try {
    return JSON.parse(error.originalResponse?.getBody() ?? "{}") as Facts;
  } catch {
    return {};
  }
}

function isClash(error: DetailedError): boolean {
  const status = error.originalResponse?.getStatus() ?? 0;
  const { type = "", error_code: code = "" } = factsOf(error);
  return status === 412 || (status === 409 && /exists|already/.test(`${type} ${code}`));
}

function failed(item: Item, error: DetailedError, key: string, upload: Upload): void {
  const status = error.originalResponse?.getStatus() ?? 0;
  const facts = factsOf(error);
  if (!status) return wait(item);
  item.problem = new Problem(status, facts.detail ? facts : { detail: error.message });
  counted.sent -= item.sent;
  item.sent = 0;
  if (!isClash(error)) return leave(item, "failed");
  localStorage.removeItem(key);
  // What was sent of it can replace nothing any more.
  if (upload.url) void upload.abort(true).catch(() => undefined);
  void compare(item, upload, (there) => isSame(item, there));
}

/** Whether the service could not be reached a moment ago. */
export const isWaiting = signal(false);
/** No answer came: all go on from where they were, once there is a network. */
function wait(item: Item): void {
  active.delete(item);
  enter(item, "waiting");
  next = Math.min(next, item.number);
  if (isWaiting.value) return;
  isWaiting.value = true;
  tryLater(() => {
    isWaiting.value = false;
    pump();
  });
}

async function look(item: Item): Promise<There | null> {
  try {
    const { data, etag } = await call<There>("GET", `${base(item.folder)}/entry`, { query: { path: item.path } });
    return { ...data, etag };
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

/** Look at what has the name: a file that `suits` has arrived before, nothing is no reason to ask. */
async function compare(item: Item, upload: Upload, suits: (there: There | null) => boolean | Promise<boolean>): Promise<void> {
  try {
    item.there = await look(item);
    const isThere = await suits(item.there);
    if (active.get(item) !== upload) return;
    if (isThere) return done(item);
    if (!item.there) return restart(item);
    leave(item, "clash");
    // Who chose to replace all did not see what came after that.
    if (always && !(always === "replace" && item.replace)) settle(item, always);
  } catch (error) {
    if (active.get(item) !== upload) return;
    item.problem = asProblem(error);
    if (item.problem.status) leave(item, "failed");
    else wait(item);
  }
}

function restart(item: Item): void {
  active.delete(item);
  item.replace = false;
  again(item);
}

/** Whether a small file is there with the very bytes: it arrived before the page was closed. */
async function isSame(item: Item, there: There | null): Promise<boolean> {
  const { size } = item.file;
  if (there?.kind !== "file" || there.size_bytes !== size || size > SMALL_BYTES) return false;
  if (!size) return true;
  const response = await fetch(address(`${base(item.folder)}/content`, { path: item.path }));
  if (!response.ok) return false;
  const [ours, theirs] = await Promise.all([item.file.arrayBuffer(), response.arrayBuffer()]);
  const known = new Uint8Array(ours);
  return new Uint8Array(theirs).every((byte, at) => byte === known[at]) && theirs.byteLength === size;
}

/** Answer the question about a name that is taken; `all` is for each further one, too. */
export function decide(item: Item, choice: Choice, all: boolean): void {
  if (all) {
    always = choice;
    for (const one of items) if (one.state === "clash") settle(one, choice);
  } else settle(item, choice);
}

function settle(item: Item, choice: Choice): void {
  if (choice === "skip") {
    counted.bytes -= item.file.size;
    enter(item, "skipped");
    return;
  }
  item.replace = choice === "replace";
  if (choice === "both") item.path = join(parent(item.path), freeName(item));
  again(item);
}

const tried = new Map<string, number>();
function freeName(item: Item): string {
  const name = item.path.slice(item.path.lastIndexOf("/") + 1);
  const original = name.replace(/ \(\d+\)(?=\.[^.]*$|$)/, "");
  const key = `${reference(item.folder)}/${parent(item.path)}/${original}`;
  const number = Math.min(NAMES_MAX, (tried.get(key) ?? 1) + 1);
  tried.set(key, number);
  return beside(original, number);
}

function again(item: Item): void {
  item.problem = null;
  enter(item, "waiting");
  next = Math.min(next, item.number);
  pump();
}

export function retryFailed(): void {
  for (const item of items) if (item.state === "failed") again(item);
}

export function pause(wanted: boolean): void {
  paused.value = wanted;
  if (wanted) hold();
  else pump();
}

/** Stop what is being sent; it goes on from where it was. */
function hold(): void {
  for (const [item, upload] of active) {
    void upload?.abort();
    active.delete(item);
    enter(item, "waiting");
    next = Math.min(next, item.number);
  }
}

/** Give everything up that is not done. */
export function cancelAll(): void {
  for (const [item, upload] of active) {
    void upload?.abort(true).catch(() => undefined);
    active.delete(item);
    void digest(item).then((key) => localStorage.removeItem(key));
  }
  clear(true);
}

/** Forget what is done; with `all` also what waits or failed. */
export function clear(all = false): void {
  const kept = all ? [] : items.filter((one) => one.state !== "done" && one.state !== "skipped");
  items.splice(0, items.length, ...kept);
  items.forEach((item, number) => (item.number = number));
  Object.assign(counted, { all: 0, done: 0, failed: 0, clash: 0, left: 0, bytes: 0, sent: 0 });
  for (const item of items) {
    counted.all++;
    counted.bytes += item.file.size;
    counted.sent += item.sent;
    counted[item.state === "failed" ? "failed" : item.state === "clash" ? "clash" : "left"]++;
  }
  next = 0;
  always = null;
  changed();
}

// -- News of what has landed -----------------------------------------------------------------------
const landings = new Set<(folder: VFolder, path: string) => void>();
/** Be called when a file has landed, until the returned function is called. */
export function whenLanded(call: (folder: VFolder, path: string) => void): () => void {
  landings.add(call);
  return () => void landings.delete(call);
}
function landed(item: Item): void {
  landings.forEach((call) => call(item.folder, item.path));
}

// -- Network, rate, leaving ------------------------------------------------------------------------
addEventListener("beforeunload", (event) => {
  if (counted.left > 0) event.preventDefault();
});
effect(() => {
  if (online.value && me.value) pump();
  else if (!online.value) hold();
});

let before = { sent: 0, at: 0 };
setInterval(() => {
  if (!counted.left) {
    rate.value = null;
    before = { sent: counted.sent, at: performance.now() };
    return;
  }
  const now = performance.now();
  const speed = Math.max(0, counted.sent - before.sent) / ((now - before.at) / 1000);
  rate.value = rate.value === null ? speed : rate.value * 0.7 + speed * 0.3;
  before = { sent: counted.sent, at: now };
}, RATE_MS);
forgetOld();

/** Jobs of the person: one store for all pages, patched by id as news comes in. */
import { computed, signal } from "@preact/signals";
import { call, get, post, repeatKey } from "./api";
import { follow, isLive, LOST, type News } from "./live";
import { me } from "./session";

export interface JobProgress {
  text: string;
  phase: string;
  percent: number | null;
  done_items: number;
  total_items: number | null;
  done_bytes: number;
  total_bytes: number | null;
  bytes_per_second: number | null;
  eta_seconds: number | null;
  errors: number;
}
export interface Job {
  id: string;
  verb: string;
  volume: string;
  request: Record<string, unknown>;
  state: "queued" | "running" | "cancelling" | "succeeded" | "partial" | "failed" | "cancelled";
  state_reason: string | null;
  waits_for: string | null;
  done: boolean;
  progress: JobProgress | null;
  result: Record<string, unknown> | null;
  error: { detail?: string; [more: string]: unknown } | null;
  requester: string | null;
  label: string | null;
  paused: boolean;
  cancel_requested: boolean;
  cancellable: boolean;
  created_at: string;
  started_at: string | null;
  updated_at: string;
  ended_at: string | null;
  version: number;
  queue?: { position: number | null; length: number; ahead_at_least: number } | null;
}
export interface JobPage {
  jobs: Job[];
  next: string | null;
}

/** The most jobs that the page holds. */
const KEPT_MAX = 1000;

const byId = signal<ReadonlyMap<string, Job>>(new Map());
/** The jobs that are known, the newest first. */
export const jobs = computed(() =>
  [...byId.value.values()].sort((a, b) => b.created_at.localeCompare(a.created_at) || b.id.localeCompare(a.id)),
);
export const running = computed(() => jobs.value.filter((one) => !one.done));

const waiting = new Map<string, Array<(job: Job) => void>>();

/** Take over documents; one of an older version is ignored. */
export function learn(found: Job[]): void {
  const map = new Map(byId.value);
  let changed = false;
  for (const job of found) {
    const known = map.get(job.id);
    if (known && known.version >= job.version) continue;
    map.set(job.id, job);
    changed = true;
    if (job.done) {
      waiting.get(job.id)?.forEach((tell) => tell(job));
      waiting.delete(job.id);
    }
  }
  if (!changed) return;
  if (map.size > KEPT_MAX) {
    const kept = [...map.values()].sort((a, b) => b.created_at.localeCompare(a.created_at)).slice(0, KEPT_MAX);
    byId.value = new Map(kept.map((one) => [one.id, one]));
  } else byId.value = map;
}

export function forget(): void {
  byId.value = new Map();
  waiting.clear();
}

/** Take over a job that was just accepted; resolves when it has ended. */
export function track(job: Job): Promise<Job> {
  learn([job]);
  const known = byId.value.get(job.id) ?? job;
  if (known.done) return Promise.resolve(known);
  const ended = new Promise<Job>((tell) => waiting.set(job.id, [...(waiting.get(job.id) ?? []), tell]));
  if (!isLive.value) void poll();
  return ended;
}

export async function look(cursor: string | null = null, signal?: AbortSignal): Promise<JobPage> {
  const page = await get<JobPage>("/v1/jobs", { query: { limit: 100, cursor, requester: "me" }, signal: signal ?? null });
  learn(page.jobs);
  return page;
}

export async function cancel(job: Job): Promise<void> {
  learn([await post<Job>(`/v1/jobs/${job.id}/cancel`)]);
}

/** Pause, resume or repeat a job; the new job of a repetition is returned. */
export async function steer(job: Job, act: "pause" | "resume" | "retry"): Promise<Job> {
  const found = await post<Job>(`/v1/jobs/${job.id}/${act}`, act === "retry" ? {} : undefined, act === "retry" ? { headers: repeatKey() } : {});
  learn([found]);
  return found;
}

const FAST_MS = 1000;
const IDLE_MS = 30_000;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Ask for the newest jobs, soon again while one runs. The stream makes this needless. */
async function poll(): Promise<void> {
  clearTimeout(timer);
  try {
    if (!document.hidden || waiting.size) await look();
    const known = new Set(jobs.value.slice(0, 100).map((one) => one.id));
    for (const id of waiting.keys())
      if (!known.has(id)) learn([(await call<Job>("GET", `/v1/jobs/${id}`)).data]);
  } catch {
    /* the bar of the frame says that news is missing; the next turn asks again */
  }
  if (!polling || isLive.value) return;
  timer = setTimeout(poll, running.value.length || waiting.size ? FAST_MS : IDLE_MS);
}

let polling = false;
/** Follow the jobs of the person until the returned function is called. */
export function followJobs(): () => void {
  polling = true;
  const end = follow("jobs", (news: News) => {
    const job = news.document as unknown as Job | undefined;
    // Operators hear of all jobs; these pages are about their own.
    if (job && job.requester === `${me.value?.subject.kind}:${me.value?.subject.id}`) learn([job]);
    if (news.id === LOST) void look().catch(() => undefined);
  });
  void poll();
  const unsubscribe = isLive.subscribe((live) => {
    if (!live && polling) void poll();
  });
  return () => {
    polling = false;
    clearTimeout(timer);
    unsubscribe();
    end();
  };
}

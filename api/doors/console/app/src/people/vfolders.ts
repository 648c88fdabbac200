/** VFolders as the API gives them, and the acts on one. People read "folder". */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, get, patch, post, repeatKey, type Answer } from "../lib/api";
import { track, type Job } from "../lib/jobs";
import type { Load } from "../lib/load";
import { path } from "../lib/router";

export type Permission = "ro" | "rw" | "rwd" | "owner";
export interface VFolder {
  id: string;
  volume: string;
  name: string | null;
  type: "user" | "group";
  scope: string;
  owner: { kind: string; id: string; name: string };
  created_at: string | null;
  permission: Permission;
  permission_via: string;
  permission_expires_at: string | null;
  group_permission: string;
  shared_with: number;
  links: number;
  expires_at: string | null;
  trashed: boolean;
  usage: { used_bytes: number | null; entries: number | null; as_of: string | null; limit_bytes: number | null };
  revision: number;
  capabilities: string[];
  /** The user or group it was offered to; null for everyone but its owner. */
  next_owner: string | null;
}
export interface VFolderPage {
  vfolders: VFolder[];
  complete: boolean;
  next: string | null;
}

const PAGE = 1000;
const RANKS: Permission[] = ["ro", "rw", "rwd", "owner"];

/** Whether a permission is enough. */
export const may = (folder: Pick<VFolder, "permission">, need: Permission) =>
  RANKS.indexOf(folder.permission) >= RANKS.indexOf(need);

export const reference = (folder: Pick<VFolder, "volume" | "id">) => `${folder.volume}:${folder.id}`;
export const base = (folder: Pick<VFolder, "volume" | "id">) => `/v1/vfolders/${reference(folder)}`;
export const titleOf = (folder: VFolder) => folder.name ?? folder.id;
export const addressOf = (folder: Pick<VFolder, "volume" | "id">, inside = "") =>
  path(["f", reference(folder), ...inside.split("/").filter(Boolean)]);

/** Changes of folders that this page made; lists of folders load again. */
const changes = signal(0);
export const folderChanged = () => changes.value++;

/** Load again whenever a folder was changed here, on whatever page. */
export function useChanges<T>(load: Load<T>): void {
  const now = changes.value;
  useEffect(() => {
    if (load.data !== undefined) load.reload();
  }, [now]);
}

/** All vfolders of a list, page after page. */
export async function listAll(query: Record<string, string>, signal: AbortSignal): Promise<VFolderPage> {
  const all: VFolder[] = [];
  let cursor: string | null = null;
  let complete = true;
  do {
    const page: VFolderPage = await get("/v1/vfolders", { query: { ...query, limit: PAGE, cursor }, signal });
    all.push(...page.vfolders);
    complete &&= page.complete;
    cursor = page.next;
  } while (cursor);
  return { vfolders: all, complete, next: null };
}

export const one = (ref: string, signal: AbortSignal) => get<VFolder>(`/v1/vfolders/${ref}`, { signal });
export const create = (body: { name: string; volume?: string; owner?: string }) =>
  changing(post<VFolder>("/v1/vfolders", body, { headers: repeatKey() }));
/** The header that refuses a change when the record has another revision. */
export const unchanged = (folder: VFolder) => ({ headers: { "If-Match": `"${folder.revision}"` } });
export const change = (folder: VFolder, body: Record<string, unknown>) => changing(patch<VFolder>(base(folder), body, unchanged(folder)));

async function changing<T>(act: Promise<T>): Promise<T> {
  try {
    return await act;
  } finally {
    folderChanged();
  }
}

/** Move to the trash; resolves with the job when it has ended. */
export async function discard(folder: VFolder): Promise<Job> {
  const answer: Answer<Job> = await call("DELETE", base(folder), unchanged(folder));
  return changing(ended(answer.data));
}
export const restore = async (folder: Pick<VFolder, "volume" | "id">) => changing(ended(await post<Job>(`${base(folder)}/restore`, {}, { headers: repeatKey() })));
export const purge = async (folder: Pick<VFolder, "volume" | "id">) => changing(ended(await post<Job>(`${base(folder)}/purge`)));

/** Begin to copy a folder to a new one. */
export const clone = (folder: VFolder, name: string) => post<Job>(`${base(folder)}/clone`, { name }, { headers: repeatKey() });

/** The job when it has ended well. Raises an error with the job's own words else. */
export async function ended(accepted: Job): Promise<Job> {
  const job = await track(accepted);
  if (job.state === "succeeded" || job.state === "partial") return job;
  throw new Error(job.error?.detail ?? job.progress?.text ?? job.state);
}

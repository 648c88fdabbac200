/** Calls of the service. Every error is a `Problem`: what is wrong, in the words of the server. */
import { t } from "../texts";
import { percent } from "./names";

export interface Facts {
  type?: string;
  title?: string;
  detail?: string;
  error_code?: string;
  retriable?: boolean;
  request_id?: string;
  needed?: string;
  have?: string;
  reason?: string;
  errors?: Array<{ pointer?: string; detail?: string }>;
  [more: string]: unknown;
}

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly facts: Facts,
    /** Seconds after which a repeated call makes sense. */
    readonly retryAfter: number | null = null,
  ) {
    super(facts.detail || facts.title || t("problem.unknown", { status }));
  }
  get kind(): string {
    return (this.facts.type ?? "").split("/problems#").pop() ?? "";
  }
  /** What a person copies into a report. */
  get details(): string {
    return JSON.stringify({ status: this.status, ...this.facts }, null, 2);
  }
}

export interface Answer<T> {
  data: T;
  status: number;
  etag: string | null;
  location: string | null;
}
export interface Options {
  query?: Record<string, string | number | boolean | null | undefined>;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | null;
  /** A 401 is the caller's business, and does not end the sign-in of the page. */
  quiet?: boolean;
}

let onSignedOut: (problem: Problem) => void = () => undefined;
/** Name what is called when the server knows the caller no longer. */
export function whenSignedOut(call: (problem: Problem) => void): void {
  onSignedOut = call;
}

export function address(path: string, query: Options["query"] = {}): string {
  const pairs = Object.entries(query)
    .filter(([, value]) => value != null && value !== "")
    .map(([name, value]) => `${name}=${percent(String(value))}`);
  return pairs.length ? `${path}?${pairs.join("&")}` : path;
}

export async function call<T>(method: string, path: string, options: Options = {}): Promise<Answer<T>> {
  const headers: Record<string, string> = { Accept: "application/json", ...options.headers };
  if (method !== "GET" && method !== "HEAD") headers["X-VFolder"] = "1";
  const init: RequestInit = { method, headers, credentials: "same-origin", signal: options.signal ?? null };
  if (options.body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(options.body);
  }
  let response: Response;
  try {
    response = await fetch(address(path, options.query), init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, { detail: t("problem.offline"), retriable: true });
  }
  if (!response.ok) {
    const problem = await problemOf(response);
    if (problem.status === 401 && !options.quiet) onSignedOut(problem);
    throw problem;
  }
  const isJson = (response.headers.get("Content-Type") ?? "").includes("json");
  return {
    data: (isJson && response.status !== 204 ? await response.json() : undefined) as T,
    status: response.status,
    etag: response.headers.get("ETag"),
    location: response.headers.get("Location"),
  };
}

export async function problemOf(response: Response): Promise<Problem> {
  let facts: Facts = {};
  try {
    facts = (await response.json()) as Facts;
  } catch {
    facts = { detail: t("problem.unknown", { status: response.status }) };
  }
  return new Problem(response.status, facts, Number(response.headers.get("Retry-After")) || null);
}

export const get = async <T>(path: string, options: Options = {}) =>
  (await call<T>("GET", path, options)).data;
export const post = async <T>(path: string, body?: unknown, options: Options = {}) =>
  (await call<T>("POST", path, { ...options, body })).data;
export const patch = async <T>(path: string, body: unknown, options: Options = {}) =>
  (await call<T>("PATCH", path, { ...options, body })).data;
export const remove = async <T>(path: string, options: Options = {}) =>
  (await call<T>("DELETE", path, options)).data;

/** A text of ours by which a repeated `POST` is known again. */
export function repeatKey(): Record<string, string> {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return { "Idempotency-Key": [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("") };
}

export const asProblem = (error: unknown): Problem =>
  error instanceof Problem ? error : new Problem(0, { detail: String((error as Error)?.message ?? error) });

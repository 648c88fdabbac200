/** Entries of a directory, page after page: names, kinds, sizes and times, and nothing else. */
import { batch, signal, type Signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { asProblem, get, type Problem } from "../lib/api";
import { SLOW_MS } from "../lib/load";
import { tryLater } from "../lib/online";
import type { Sort } from "../ui/grid";

export interface Entry {
  name: string;
  kind: "file" | "directory" | "symlink" | string;
  size_bytes: number | null;
  modified_at: string | null;
  symlink_target: string | null;
}
interface Page {
  rows: Array<[Entry["name"], Entry["kind"], Entry["size_bytes"], Entry["modified_at"], Entry["symlink_target"]]>;
  next: string | null;
}
const FIELDS = "name,kind,size_bytes,modified_at,symlink_target";
const entryOf = ([name, kind, size_bytes, modified_at, symlink_target]: Page["rows"][number]): Entry => ({
  name, kind, size_bytes, modified_at, symlink_target,
});

/** The largest page of the server. */
const PAGE = 5000;
/** The first page is shorter: something is seen soon. */
const FIRST_PAGE = 500;
/** How often a long listing shows what has come (milliseconds). */
const SHOW_MS = 500;

export class Listing {
  readonly rows = signal<Entry[]>([]);
  /** Whether all rows are here. Sorting and filtering wait for it. */
  readonly complete = signal(false);
  readonly pending = signal(true);
  readonly slow = signal(false);
  readonly problem = signal<Problem | undefined>(undefined);
  #ending = new AbortController();
  #forget = () => undefined as void;

  constructor(readonly base: string, readonly path: string) {}

  /** Ask for everything again; what is there stays until the answer has come. */
  async load(): Promise<void> {
    this.end();
    const ending = (this.#ending = new AbortController());
    const timer = setTimeout(() => (this.slow.value = true), SLOW_MS);
    this.pending.value = true;
    const again = this.rows.value.length > 0;
    const found: Entry[] = [];
    let shownAt = 0;
    let cursor: string | null = null;
    try {
      do {
        const page: Page = await get(`${this.base}/entries`, {
          query: { path: this.path, limit: found.length ? PAGE : FIRST_PAGE, cursor, fields: FIELDS, rows: "columns" },
          signal: ending.signal,
        });
        clearTimeout(timer);
        this.slow.value = false;
        for (const row of page.rows) found.push(entryOf(row));
        cursor = page.next;
        if (!again && cursor && performance.now() - shownAt > SHOW_MS) {
          this.rows.value = found.slice();
          shownAt = performance.now();
        }
      } while (cursor);
      batch(() => {
        this.rows.value = found;
        this.complete.value = true;
      });
      this.leaving.value = new Set();
      this.problem.value = undefined;
    } catch (error) {
      if (ending.signal.aborted) return;
      this.problem.value = asProblem(error);
      if (!this.problem.value.status) this.#forget = tryLater(() => void this.load());
    }
    clearTimeout(timer);
    this.slow.value = false;
    this.pending.value = false;
  }
  /** Names that are being deleted: shown as such until the answer is there. */
  readonly leaving = signal<ReadonlySet<string>>(new Set());
  mark(names: ReadonlySet<string> | null): void {
    this.leaving.value = names ?? new Set();
  }
  end(): void {
    this.#forget();
    this.#ending.abort();
  }
}

export function useListing(base: string | null, path: string): Listing | null {
  const listing = useMemo(() => (base === null ? null : new Listing(base, path)), [base, path]);
  useEffect(() => {
    void listing?.load();
    return () => listing?.end();
  }, [listing]);
  return listing;
}

const RANK: Record<string, number> = { directory: 0 };
const collate = new Intl.Collator(undefined, { numeric: true }).compare;
/** Above this, names are ordered by code point: an order of language takes seconds. */
const COLLATED_MAX = 10_000;
const byCodePoint = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

function matcher(filter: string): (name: string) => boolean {
  const text = filter.toLowerCase();
  if (!/[*?]/.test(text)) return (name) => name.toLowerCase().includes(text);
  const pattern = text.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".");
  const found = new RegExp(`^${pattern}$`);
  return (name) => found.test(name.toLowerCase());
}

const VALUES: Record<string, (entry: Entry) => number> = {
  size: (entry) => entry.size_bytes ?? -1,
  changed: (entry) => (entry.modified_at ? Date.parse(entry.modified_at) : 0),
};

/** What is shown: filtered and sorted, directories first. Before all rows are here it is the server's order. */
export function useShown(rows: Signal<Entry[]>, complete: boolean, filter: string, sort: Sort): Entry[] {
  return useMemo(() => (complete ? arranged(rows.value, filter, sort) : rows.value), [rows.value, complete, filter, sort.key, sort.down]);
}

function arranged(rows: Entry[], filter: string, sort: Sort): Entry[] {
  const matches = matcher(filter);
  const shown = filter ? rows.filter((one) => matches(one.name)) : rows.slice();
  const value = VALUES[sort.key];
  const turn = sort.down ? -1 : 1;
  const compare = shown.length > COLLATED_MAX ? byCodePoint : collate;
  const rank = (one: Entry) => RANK[one.kind] ?? 1;
  if (!value) return shown.sort((a, b) => rank(a) - rank(b) || compare(a.name, b.name) * turn);
  const known = new Map(shown.map((one) => [one, value(one)]));
  return shown.sort((a, b) => rank(a) - rank(b) || (known.get(a)! - known.get(b)!) * turn || compare(a.name, b.name));
}

/** Entries of a directory, page after page: names, kinds, sizes and times, and nothing else. */
import { signal, type Signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { asProblem, get, type Problem } from "../lib/api";
import { SLOW_MS } from "../lib/load";
import { isOdd } from "../lib/names";
import type { Sort } from "../ui/grid";

export interface Entry {
  name: string;
  kind: "file" | "directory" | "symlink" | string;
  size_bytes: number | null;
  modified_at: string | null;
  symlink_target: string | null;
}
interface Page {
  entries: Entry[];
  next: string | null;
}

/** The largest page of the server. */
const PAGE = 5000;
/** The first page is shorter: something is seen soon. */
const FIRST_PAGE = 500;

export class Listing {
  readonly rows = signal<Entry[]>([]);
  /** Whether all rows are here. Sorting and filtering wait for it. */
  readonly complete = signal(false);
  readonly pending = signal(true);
  readonly slow = signal(false);
  readonly problem = signal<Problem | undefined>(undefined);
  #ending = new AbortController();

  constructor(readonly base: string, readonly path: string) {}

  /** Ask for everything again; what is there stays until the answer has come. */
  async load(): Promise<void> {
    this.#ending.abort();
    const ending = (this.#ending = new AbortController());
    const timer = setTimeout(() => (this.slow.value = true), SLOW_MS);
    this.pending.value = true;
    const again = this.rows.value.length > 0;
    let found: Entry[] = [];
    let cursor: string | null = null;
    try {
      do {
        const page: Page = await get(`${this.base}/entries`, {
          query: { path: this.path, limit: found.length ? PAGE : FIRST_PAGE, cursor },
          signal: ending.signal,
        });
        clearTimeout(timer);
        this.slow.value = false;
        found = found.length ? found.concat(page.entries) : page.entries;
        cursor = page.next;
        if (!again) {
          this.rows.value = found;
          this.complete.value = !cursor;
        }
      } while (cursor);
      this.rows.value = found;
      this.complete.value = true;
      this.problem.value = undefined;
    } catch (error) {
      if (ending.signal.aborted) return;
      this.problem.value = asProblem(error);
    }
    clearTimeout(timer);
    this.slow.value = false;
    this.pending.value = false;
  }
  end(): void {
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
const compare = new Intl.Collator(undefined, { numeric: true }).compare;

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
  const kept = useRef<Entry[]>([]);
  const found = useMemo(() => {
    if (!complete) return rows.value;
    const shown = filter ? rows.value.filter((one) => matches(one, filter)) : rows.value.slice();
    const value = VALUES[sort.key];
    const turn = sort.down ? -1 : 1;
    if (value) {
      const known = new Map(shown.map((one) => [one, value(one)]));
      shown.sort((a, b) => (RANK[a.kind] ?? 1) - (RANK[b.kind] ?? 1) || (known.get(a)! - known.get(b)!) * turn || compare(a.name, b.name));
    } else shown.sort((a, b) => (RANK[a.kind] ?? 1) - (RANK[b.kind] ?? 1) || compare(a.name, b.name) * turn);
    return shown;
  }, [rows.value, complete, filter, sort.key, sort.down]);
  kept.current = found;
  return found;
}

let last: { filter: string; test: (name: string) => boolean } = { filter: "", test: () => true };
function matches(entry: Entry, filter: string): boolean {
  if (last.filter !== filter) last = { filter, test: matcher(filter) };
  return last.test(entry.name);
}

export const isStrange = (entry: Entry) => isOdd(entry.name);

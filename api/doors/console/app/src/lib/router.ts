/** Addresses. Every place has one: vfolder, path, selection, filter, job, tab. */
import { signal } from "@preact/signals";
import { percent, unpercent } from "./names";

export const BASE = "/console";

export interface Place {
  /** The decoded segments behind `/console`. */
  segments: string[];
  query: Record<string, string>;
}

const read = (): Place => {
  const segments = location.pathname.slice(BASE.length).split("/").filter(Boolean).map(unpercent);
  const query: Record<string, string> = {};
  for (const pair of location.search.slice(1).split("&").filter(Boolean)) {
    const [name, value = ""] = pair.split("=", 2) as [string, string?];
    query[unpercent(name)] = unpercent(value.replace(/\+/g, " "));
  }
  return { segments, query };
};

export const place = signal<Place>(read());
addEventListener("popstate", () => (place.value = read()));

export function path(segments: string[], query: Record<string, string | null | undefined> = {}): string {
  const pairs = Object.entries(query).filter(([, value]) => value);
  const text = pairs.map(([name, value]) => `${percent(name)}=${percent(value!)}`).join("&");
  // A colon needs no escape in a path (RFC 3986 §3.3).
  return [BASE, ...segments.map((one) => percent(one).replaceAll("%3A", ":"))].join("/") + (text ? `?${text}` : "");
}

export function go(to: string, options: { replace?: boolean } = {}): void {
  if (to === location.pathname + location.search) return;
  history[options.replace ? "replaceState" : "pushState"](null, "", to);
  place.value = read();
  if (!options.replace) scrollTo(0, 0);
}

/** Change members of the query in place: selection, filter, sort. */
export function setQuery(changes: Record<string, string | null>): void {
  const { segments, query } = place.value;
  go(path(segments, { ...query, ...changes }), { replace: true });
}

/** Links of the console change the page without loading it again. */
export function followLinks(root: HTMLElement): void {
  root.addEventListener("click", (event) => {
    const link = (event.target as Element).closest?.("a");
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute("download")) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || !`${url.pathname}/`.startsWith(`${BASE}/`)) return;
    if (url.pathname.startsWith(`${BASE}/assets/`)) return;
    // A place on this page, as that behind the navigation.
    if (url.hash && url.pathname + url.search === location.pathname + location.search) return;
    event.preventDefault();
    go(url.pathname + url.search);
  });
}

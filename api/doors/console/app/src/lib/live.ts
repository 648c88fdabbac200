/**
 * News of the service: one stream of events for all tabs of a browser.
 *
 * One tab holds the lock and the stream; it passes news on to the others. A server without the
 * feature `events` is polled instead, by the stores that need it.
 */
import { computed, effect, signal } from "@preact/signals";
import { can, me } from "./session";

export interface News {
  topic: string;
  id: string;
  version?: number;
  document?: Record<string, unknown>;
  [more: string]: unknown;
}

/** The id of news that says: some news was lost, look again. */
export const LOST = "";
const LOCK = "vfolder-live";
/** Silence after which the page says that news is missing (milliseconds). */
const STALE_MS = 40_000;
const RETRY_MS = 2000;
const RETRY_MAX_MS = 60_000;

const listeners = new Map<string, Set<(news: News) => void>>();
const topics = signal<ReadonlySet<string>>(new Set());
/** Topics of other tabs: the one that holds the stream asks for them, too. */
const ofOthers = signal<ReadonlySet<string>>(new Set());
const wanted = computed(() => [...new Set([...topics.value, ...ofOthers.value])].sort().join(","));
/** Whether a stream of this browser is open. */
export const isLive = signal(false);
/** Since when there is no news though there should be (milliseconds); null while all is well. */
export const brokenSince = signal<number | null>(null);

const channel = "BroadcastChannel" in self ? new BroadcastChannel(LOCK) : null;
channel?.addEventListener("message", (event: MessageEvent<Message>) => {
  if (event.data.topics) meet(event.data.topics);
  if (event.data.news) hear(event.data.news);
  if (event.data.live !== undefined) mark(event.data.live);
});

interface Message {
  news?: News;
  live?: boolean;
  /** What another tab follows; it wants to know whether a stream is open. */
  topics?: string[];
}

function meet(others: string[]): void {
  if (others.some((one) => !ofOthers.value.has(one))) ofOthers.value = new Set([...ofOthers.value, ...others]);
  if (source) channel?.postMessage({ live: isLive.value });
}

function hear(news: News): void {
  listeners.get(news.topic)?.forEach((tell) => tell(news));
}

function mark(live: boolean): void {
  isLive.value = live;
  if (live) brokenSince.value = null;
  else brokenSince.value ??= Date.now();
}

/** Be called at each news of a topic, until the returned function is called. */
export function follow(topic: string, tell: (news: News) => void): () => void {
  const found = listeners.get(topic) ?? new Set();
  found.add(tell);
  listeners.set(topic, found);
  topics.value = new Set(listeners.keys());
  return () => {
    found.delete(tell);
    if (!found.size) {
      listeners.delete(topic);
      topics.value = new Set(listeners.keys());
    }
  };
}

let source: EventSource | null = null;
let lastEvent = "";
let again: ReturnType<typeof setTimeout> | undefined;
let pause = RETRY_MS;

function open(): void {
  close();
  if (!wanted.value) return;
  const query = new URLSearchParams({ topics: wanted.value });
  if (lastEvent) query.set("last_event_id", lastEvent);
  source = new EventSource(`/v1/events?${query}`);
  source.onopen = () => {
    pause = RETRY_MS;
    publish({ live: true });
  };
  source.onerror = () => {
    publish({ live: false });
    if (source?.readyState !== EventSource.CLOSED) return;
    again = setTimeout(open, pause);
    pause = Math.min(RETRY_MAX_MS, pause * 2);
  };
  // A reader that fell behind has to look by itself.
  source.addEventListener("lost", () => {
    for (const topic of wanted.value.split(",")) publish({ news: { topic, id: LOST } });
  });
  for (const topic of wanted.value.split(","))
    source.addEventListener(topic, (event) => {
      const { data, lastEventId } = event as MessageEvent<string>;
      lastEvent = lastEventId;
      publish({ news: { topic, ...(JSON.parse(data) as object) } as News });
    });
}

function close(): void {
  clearTimeout(again);
  source?.close();
  source = null;
}

function publish(message: Message): void {
  channel?.postMessage(message);
  if (message.news) hear(message.news);
  if (message.live !== undefined) mark(message.live);
}

/** Whether the bar about missing news is shown. */
export const isStale = signal(false);
setInterval(() => {
  isStale.value = brokenSince.value !== null && Date.now() - brokenSince.value > STALE_MS;
}, RETRY_MS);

/** Hold the stream while a person is signed in; called once. */
export function beginLive(): void {
  let release: (() => void) | undefined;
  effect(() => {
    if (me.value && topics.value.size) channel?.postMessage({ topics: [...topics.value] });
  });
  const lead = () => {
    const stop = effect(() => {
      if (wanted.value) open();
    });
    return () => {
      stop();
      close();
      mark(false);
      brokenSince.value = null;
    };
  };
  effect(() => {
    const wants = Boolean(me.value) && can("events");
    if (wants && !release) {
      if (!("locks" in navigator)) release = lead();
      else {
        const ending = new AbortController();
        let end: (() => void) | undefined;
        const held = () => new Promise<void>((free) => {
          const stop = lead();
          end = () => (stop(), free());
        });
        navigator.locks.request(LOCK, { signal: ending.signal }, held).catch(() => undefined);
        release = () => (end ? end() : ending.abort());
      }
    } else if (!wants && release) {
      release();
      release = undefined;
    }
  });
}

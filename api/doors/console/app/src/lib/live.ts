/**
 * News of the service: one stream of events for all tabs of a browser.
 *
 * One tab holds the lock and the stream; it passes news on to the others. A server without the
 * feature `events` is polled instead, by the stores that need it. The stream says that it is alive
 * while nothing changes; one that is silent for too long has lost its connection, and is begun again.
 * After a break every reader looks again: not all news of the time between is sent.
 */
import { computed, effect, signal } from "@preact/signals";
import { can, me } from "./session";

export interface News {
  topic: string;
  id: string | null;
  version?: number;
  document?: Record<string, unknown>;
  [more: string]: unknown;
}

/** The id of news that says: some news was lost, look again. */
export const LOST = "";
const LOCK = "vfolder-live";
/** Silence after which the page says that news is missing (milliseconds). */
const STALE_MS = 40_000;
/** Silence after which the connection counts as lost; the stream says every ten seconds that it is alive. */
const SILENCE_MS = 35_000;
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
  if (event.data.asks) tellTopics();
  if (event.data.topics) meet(event.data.topics);
  if (event.data.at) lastEvent = event.data.at;
  if (event.data.news) hear(event.data.news);
  if (event.data.live !== undefined) mark(event.data.live);
});

interface Message {
  news?: News;
  live?: boolean;
  /** What another tab follows; it wants to know whether a stream is open. */
  topics?: string[];
  /** The tab that has the stream now wants to know what the others follow. */
  asks?: boolean;
  /** The id of the newest event, with which any tab can go on. */
  at?: string;
}

function tellTopics(): void {
  if (me.peek() && topics.peek().size) channel?.postMessage({ topics: [...topics.peek()] });
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
let heardAt = 0;
/** The topics of the stream. It keeps a topic without followers until it begins again. */
let asked: string[] = [];
/** News may be missing: when the stream is open again, every reader looks. */
let missed = false;

function open(): void {
  close();
  asked = wanted.peek() ? wanted.peek().split(",") : [];
  if (!asked.length) return;
  const query = new URLSearchParams({ topics: asked.join(",") });
  if (lastEvent) query.set("last_event_id", lastEvent);
  source = new EventSource(`/v1/events?${query}`);
  heardAt = Date.now();
  source.onopen = () => {
    heardAt = Date.now();
    pause = RETRY_MS;
    publish({ live: true });
    if (missed) lost();
    missed = false;
  };
  source.onerror = () => {
    missed = true;
    publish({ live: false });
    if (source?.readyState === EventSource.CLOSED) openLater();
  };
  // A reader that fell behind has to look by itself.
  source.addEventListener("lost", lost);
  for (const topic of ["alive", ...asked])
    source.addEventListener(topic, (event) => {
      const { data, lastEventId } = event as MessageEvent<string>;
      heardAt = Date.now();
      lastEvent = lastEventId;
      if (topic !== "alive") publish({ news: { topic, ...(JSON.parse(data) as object) } as News, at: lastEventId });
      else publish({ at: lastEventId });
    });
}

function lost(): void {
  for (const topic of asked) publish({ news: { topic, id: LOST } });
}

function openLater(): void {
  clearTimeout(again);
  again = setTimeout(open, pause);
  pause = Math.min(RETRY_MAX_MS, pause * 2);
}

/** Begin the stream again when its connection went away without a word, as after a sleep of the machine. */
function watch(): void {
  if (!source || source.readyState === EventSource.CLOSED || Date.now() - heardAt < SILENCE_MS) return;
  missed = true;
  publish({ live: false });
  open();
}

function close(): void {
  clearTimeout(again);
  source?.close();
  source = null;
  asked = [];
}

function publish(message: Message): void {
  channel?.postMessage(message);
  if (message.news) hear(message.news);
  if (message.live !== undefined) mark(message.live);
}

/** Whether the bar about missing news is shown. */
export const isStale = signal(false);
setInterval(() => {
  watch();
  isStale.value = brokenSince.value !== null && Date.now() - brokenSince.value > STALE_MS;
}, RETRY_MS);

/** Hold the stream while a person is signed in; called once. */
export function beginLive(): void {
  let release: (() => void) | undefined;
  effect(() => {
    if (me.value && topics.value.size) tellTopics();
  });
  const lead = () => {
    // Another tab had the stream until now: between its end and this beginning news may be missing.
    missed = isLive.peek();
    ofOthers.value = new Set();
    channel?.postMessage({ asks: true });
    const stop = effect(() => {
      if (wanted.value.split(",").some((topic) => topic && !asked.includes(topic))) open();
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

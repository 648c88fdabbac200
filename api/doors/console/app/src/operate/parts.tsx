/** What operators' pages share: figures with their age, acts with a reason, small tables. */
import { computed, signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { get } from "../lib/api";
import { duration } from "../lib/format";
import { useLoad, type Load } from "../lib/load";
import { follow, isLive, type News } from "../lib/live";
import { hasScope } from "../lib/session";
import { Field, State } from "../ui/controls";
import { FormDialog, openDialog } from "../ui/dialog";
import { toast } from "../ui/toast";
import { t } from "./text";

const SECOND_MS = 1000;
/** A figure that is older says so (seconds). */
const OLD_SECONDS = 30;
/** How often a page looks while news come by the stream: for figures that change all the time, as speeds (milliseconds). */
const LIVE_MS = 15_000;
/** Shortest pause between two questions, also while much news comes (milliseconds). */
const PAUSE_MS = 1000;

const now = signal(Date.now());
let watchers = 0;
let clock: ReturnType<typeof setInterval> | undefined;
/** Keep `now` going while something on the page shows an age. */
function useClock(): void {
  useEffect(() => {
    if (watchers++ === 0) clock = setInterval(() => { if (!document.hidden) now.value = Date.now(); }, SECOND_MS);
    return () => { if (--watchers === 0) clearInterval(clock); };
  }, []);
}

export interface Polled<T> extends Load<T> {
  /** When the figures came (milliseconds); null before the first. */
  at: number | null;
  /** There are figures, and the service gives no newer ones: acts are off. */
  away: boolean;
  /** Changes come at once, by the stream of news. */
  live: boolean;
}

/** How old figures are. */
export type Aged = Pick<Polled<unknown>, "at" | "away" | "live">;

/** Put news into what is shown; undefined: look again. */
type Patch<T> = (data: T, news: News) => T | undefined;

/**
 * Load a part of a page, and again at news of its topics (names with commas between).
 *
 * Without a stream of news it looks every `ms` milliseconds. A page that is not seen does not look.
 */
export function usePolled<T>(path: string | null, ms: number, topics = "", patch?: Patch<T>): Polled<T> {
  const load = useLoad<T>(path, (ending) => get<T>(path!, { signal: ending }));
  const at = useRef<number | null>(null);
  const seen = useRef<T | undefined>(undefined);
  if (load.data !== seen.current) {
    seen.current = load.data;
    at.current = load.data === undefined ? null : Date.now();
  }
  const latest = useRef({ load, patch });
  latest.current = { load, patch };
  const live = topics !== "" && isLive.value;
  /** News came while a question was on its way; its answer may be older than they are. */
  const again = useRef(false);
  useEffect(() => {
    if (path === null) return;
    const look = () => {
      if (document.hidden) return;
      if (latest.current.load.pending) again.current = true;
      else latest.current.load.reload();
    };
    let soon: ReturnType<typeof setTimeout> | undefined;
    const lookSoon = () => {
      soon ??= setTimeout(() => { soon = undefined; look(); }, PAUSE_MS);
    };
    const hear = (news: News) => {
      const { load: now, patch: put } = latest.current;
      if (!put || !news.id || now.data === undefined || now.pending) return lookSoon();
      const data = put(now.data, news);
      if (data === undefined) lookSoon();
      else if (data !== now.data) now.change(() => data);
    };
    const ends = topics.split(",").filter(Boolean).map((topic) => follow(topic, hear));
    const timer = setInterval(look, live ? LIVE_MS : ms);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      clearTimeout(soon);
      document.removeEventListener("visibilitychange", look);
      ends.forEach((end) => end());
    };
  }, [path, ms, topics, live]);
  useEffect(() => {
    if (load.pending || !again.current) return;
    again.current = false;
    const soon = setTimeout(() => latest.current.load.reload(), PAUSE_MS);
    return () => clearTimeout(soon);
  }, [load.pending]);
  return { ...load, at: at.current, away: load.data !== undefined && load.error !== undefined, live };
}

/** How old the figures of a page are. */
export function Age({ of }: { of: Aged }) {
  useClock();
  if (of.at === null) return null;
  const seconds = Math.max(0, Math.round((now.value - of.at) / SECOND_MS));
  const old = of.away || seconds > OLD_SECONDS;
  return (
    <span class={old ? "age old" : "age"} role={old ? "status" : undefined}>
      {of.live && !old && <State kind="ok">{t("age.live")}</State>}
      {of.live && !old ? " · " : ""}{t(old ? "age.old" : "age", { time: duration(seconds) })}
    </span>
  );
}

/** The head of a page: its name, what belongs beside it, and the age of what it shows. */
export function Head({ title, of, children }: { title: string; of?: Aged; children?: ComponentChildren }) {
  useEffect(() => {
    document.title = `${title} · vfolder`;
  }, [title]);
  return (
    <div class="bar">
      <h1>{title}</h1>
      {of && <Age of={of} />}
      <div class="space" />
      {children}
    </div>
  );
}

/** Whether the operator may change things; the tooltip of what is off says why it is. */
export const mayChange = computed(() => hasScope("admin:write"));
export const whyNot = (away = false): string | undefined =>
  away ? t("act.away") : mayChange.value ? undefined : t("act.scope");

interface Act {
  title: string;
  /** What it touches, in numbers. */
  body: ComponentChildren;
  /** The verb with its object. */
  confirm: string;
  danger?: boolean;
  /** A reason may be left out. */
  optional?: boolean;
  /** How to take it back. */
  back?: string;
  run: (reason: string) => Promise<unknown>;
  done: string;
}

/** Ask once, with a reason that goes into the audit log. */
export function askWhy(act: Act): void {
  openDialog((close) => <WhyDialog act={act} close={close} />);
}

function WhyDialog({ act, close }: { act: Act; close: () => void }) {
  const reason = useSignal("");
  return (
    <FormDialog title={act.title} confirm={act.confirm} danger={act.danger ?? false} onClose={close}
      disabled={!act.optional && !reason.value.trim()}
      onConfirm={async () => {
        await act.run(reason.value.trim());
        toast(act.done);
      }}>
      <div>{act.body}</div>
      {act.back && <p class="muted">{act.back}</p>}
      <Field label={t(act.optional ? "reason.optional" : "reason")} hint={t("reason.hint")}>
        {(ids) => (
          <input {...ids} value={reason.value} maxLength={500} autocomplete="off" required={!act.optional}
            onInput={(event) => (reason.value = event.currentTarget.value)} />
        )}
      </Field>
    </FormDialog>
  );
}

/** A small table; the first cell of a row is its head. On a phone it scrolls inside itself. */
export function Table({ label, head, rows }: {
  label: string;
  head: ComponentChildren[];
  rows: Array<{ key: string; cells: ComponentChildren[] }>;
}) {
  return (
    <div class="table" role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead><tr>{head.map((one, index) => <th key={index} scope="col">{one}</th>)}</tr></thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.key}>
              {row.cells.map((cell, index) => index === 0 ? <th key={index} scope="row">{cell}</th> : <td key={index}>{cell}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A box of a page with its own heading. */
export function Box({ title, aside, children, class: more = "" }: {
  title: string;
  aside?: ComponentChildren;
  children: ComponentChildren;
  class?: string;
}) {
  return (
    <section class={`box ${more}`}>
      <div class="bar"><h2>{title}</h2><div class="space" />{aside}</div>
      {children}
    </section>
  );
}

/** A figure with its name. */
export function Figure({ name, value, more, kind = "" }: {
  name: string;
  value: ComponentChildren;
  more?: ComponentChildren;
  kind?: "" | "ok" | "warn" | "bad";
}) {
  return (
    <div class={`figure ${kind}`}>
      <dt>{name}</dt>
      <dd><strong>{value}</strong>{more && <span class="muted">{more}</span>}</dd>
    </div>
  );
}

/** A share of something, as a bar and in words. */
export function Share({ used, size, label, text }: {
  used: number | null | undefined;
  size: number | null | undefined;
  label: string;
  text: ComponentChildren;
}) {
  const share = used != null && size ? used / size : null;
  const kind = share === null ? "" : share >= 0.97 ? "bad" : share >= 0.9 ? "warn" : "";
  return (
    <div class={`share ${kind}`}>
      {share !== null && <progress aria-label={label} max={100} value={Math.min(100, share * 100)} />}
      <span>{text}</span>
    </div>
  );
}

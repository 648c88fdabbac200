/** The states of a part of a page: loading, slow, wrong, not allowed, empty. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Problem } from "../lib/api";
import type { Load } from "../lib/load";
import { t, type TextKey } from "../texts";
import { Button } from "./controls";
import { Icon, type IconName } from "./icon";

export async function copyText(text: string): Promise<void> {
  await navigator.clipboard.writeText(text);
}

function CopyDetails({ problem }: { problem: Problem }) {
  const [copied, setCopied] = useState(false);
  return (
    <Button kind="quiet" icon={copied ? "check" : "copy"}
      onClick={() => void copyText(problem.details).then(() => setCopied(true))}>
      {copied ? t("copied") : t("copy.details")}
    </Button>
  );
}

const NEXT: Record<number, TextKey> = {
  0: "problem.next.offline", 401: "problem.next.401", 403: "problem.next.403", 404: "problem.next.404", 409: "problem.next.409",
  412: "problem.next.412", 413: "problem.next.413", 429: "problem.next.429", 500: "problem.next.500", 502: "problem.next.503",
  503: "problem.next.503", 504: "problem.next.503", 507: "problem.next.507",
};

/** What a person can do about a problem. */
export function nextStep(problem: Problem): string {
  if (problem.status === 403 && problem.facts.needed)
    return t("problem.next.needs", { needed: problem.facts.needed, have: problem.facts.have ?? "none" });
  const key = NEXT[problem.status];
  if (key) return t(key, { seconds: problem.retryAfter ?? 2 });
  return problem.facts.retriable ? t("problem.next.503") : "";
}

/** A problem: what is wrong, with which entry, and what to do next. */
export function ProblemNotice({ problem, subject, next, onRetry, compact = false }: {
  problem: Problem;
  subject?: string | undefined;
  /** What to do, where the page knows better than the status. */
  next?: string;
  onRetry?: (() => void) | undefined;
  compact?: boolean;
}) {
  const refused = problem.status === 403;
  return (
    <div class={`notice ${refused ? "warn" : "bad"} ${compact ? "compact" : ""}`} role="alert">
      <Icon name={refused ? "warning" : "error"} />
      <div>
        {subject && <strong>{subject}</strong>}
        <p>{problem.message}</p>
        {(problem.facts.errors ?? []).map((one) => one.detail && <p key={one.pointer}>{one.pointer}: {one.detail}</p>)}
        <p class="muted">{next ?? nextStep(problem)}</p>
        <div class="acts">
          {onRetry && <Button icon="refresh" onClick={onRetry}>{t("retry")}</Button>}
          {problem.facts.request_id && <CopyDetails problem={problem} />}
        </div>
      </div>
    </div>
  );
}

/** A hint that stays: what is, then what to do. */
export function Notice({ kind = "info", children }: { kind?: "info" | "warn" | "ok"; children: ComponentChildren }) {
  return (
    <div class={`notice ${kind}`} role="status">
      <Icon name={kind === "warn" ? "warning" : kind === "ok" ? "ok" : "info"} />
      <div>{children}</div>
    </div>
  );
}

/** Nothing is there: one sentence, and what to do. */
export function Empty({ icon, text, children }: { icon: IconName; text: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <Icon name={icon} />
      <p>{text}</p>
      {children && <div class="acts">{children}</div>}
    </div>
  );
}

export function Skeleton({ rows = 6 }: { rows?: number }) {
  return (
    <div class="skeleton" aria-hidden="true">
      {Array.from({ length: rows }, (_, row) => <div key={row} class={`bone b${row % 3}`} />)}
    </div>
  );
}

/** A part of a page: shows what `load` has, or why it has nothing yet. It never takes the page. */
export function Part<T>({ load, rows = 6, subject, empty, children }: {
  load: Load<T>;
  rows?: number;
  subject?: string;
  /** What is shown in place of data that has nothing in it. */
  empty?: (data: T) => ComponentChildren | null;
  children: (data: T) => ComponentChildren;
}) {
  const { data, error, pending, slow } = load;
  if (data === undefined && error) return <ProblemNotice problem={error} subject={subject} onRetry={load.reload} />;
  if (data === undefined)
    return (
      <div class="part" aria-busy="true">
        <p class="visually-hidden" role="status">{t("loading")}</p>
        {slow && <Notice kind="warn">{t("slow")}</Notice>}
        {pending && <Skeleton rows={rows} />}
      </div>
    );
  return (
    <>
      {error && <ProblemNotice problem={error} subject={subject} onRetry={load.reload} compact />}
      {empty?.(data) ?? children(data)}
    </>
  );
}

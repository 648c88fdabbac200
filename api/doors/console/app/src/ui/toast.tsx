/** Short messages below; with an act such as Undo they stay for 30 seconds. */
import { signal } from "@preact/signals";
import { asProblem } from "../lib/api";
import { t } from "../texts";
import { Button, IconButton } from "./controls";
import { Icon } from "./icon";

interface Toast {
  number: number;
  text: string;
  kind: "ok" | "bad";
  details?: string;
  act?: { label: string; run: () => Promise<unknown> | void };
}
const toasts = signal<Toast[]>([]);
let numbers = 0;
const SHORT_MS = 6000;
/** How long an act can be undone from its message. */
export const UNDO_MS = 30_000;
const SHOWN_MAX = 4;

export function toast(text: string, options: Partial<Omit<Toast, "number" | "text">> & { ms?: number } = {}): () => void {
  const number = ++numbers;
  const { ms, ...rest } = options;
  toasts.value = [...toasts.value, { kind: "ok" as const, ...rest, number, text }].slice(-SHOWN_MAX);
  const end = () => (toasts.value = toasts.value.filter((one) => one.number !== number));
  setTimeout(end, ms ?? (options.act || options.kind === "bad" ? UNDO_MS : SHORT_MS));
  return end;
}

/** Say what failed: the entry, the problem, and its id to copy. */
export function toastProblem(error: unknown, subject = ""): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  const problem = asProblem(error);
  const text = subject ? `${subject}: ${problem.message}` : problem.message;
  toast(text, { kind: "bad", ...(problem.facts.request_id ? { details: problem.details } : {}) });
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((one) => (
        <div key={one.number} class={`toast ${one.kind}`}>
          <Icon name={one.kind === "ok" ? "ok" : "error"} />
          <span>{one.text}</span>
          {one.act && (
            <Button kind="quiet" onClick={() => {
              toasts.value = toasts.value.filter((other) => other.number !== one.number);
              void Promise.resolve(one.act!.run()).catch((error) => toastProblem(error));
            }}>{one.act.label}</Button>
          )}
          {one.details && (
            <Button kind="quiet" onClick={() => void navigator.clipboard.writeText(one.details!)}>{t("copy.details")}</Button>
          )}
          <IconButton icon="close" label={t("close")}
            onClick={() => (toasts.value = toasts.value.filter((other) => other.number !== one.number))} />
        </div>
      ))}
    </div>
  );
}

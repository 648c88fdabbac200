/** Loading of one part of a page: its data, its error, and whether it is slow. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Problem, asProblem } from "./api";
import { tryLater } from "./online";

/** After so long a part says that storage is slow (milliseconds). */
export const SLOW_MS = 3000;

export interface Load<T> {
  data: T | undefined;
  error: Problem | undefined;
  pending: boolean;
  slow: boolean;
  /** Ask again; what is there stays until the answer comes. */
  reload: () => void;
  /** Change what is there, until the next answer. */
  change: (by: (data: T) => T) => void;
}

/** Load when the key changes; a null key loads nothing. */
export function useLoad<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>): Load<T> {
  const data = useSignal<T | undefined>(undefined);
  const error = useSignal<Problem | undefined>(undefined);
  const pending = useSignal(key !== null);
  const slow = useSignal(false);
  const turn = useSignal(0);
  const of = useRef<string | null>(null);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    if (key === null) return;
    if (of.current !== key) {
      data.value = undefined;
      error.value = undefined;
    }
    of.current = key;
    const ending = new AbortController();
    let forget = () => undefined as void;
    pending.value = true;
    const timer = setTimeout(() => (slow.value = true), SLOW_MS);
    const done = () => {
      clearTimeout(timer);
      slow.value = false;
      pending.value = false;
    };
    latest.current(ending.signal).then(
      (found) => {
        if (ending.signal.aborted) return;
        data.value = found;
        error.value = undefined;
        done();
      },
      (failure: unknown) => {
        if (ending.signal.aborted) return;
        error.value = asProblem(failure);
        done();
        if (!error.value.status) forget = tryLater(() => turn.value++);
      },
    );
    return () => {
      ending.abort();
      forget();
      done();
    };
  }, [key, turn.value]);
  return {
    data: data.value,
    error: error.value,
    pending: pending.value,
    slow: slow.value,
    reload: () => turn.value++,
    change: (by) => {
      if (data.value !== undefined) data.value = by(data.value);
    },
  };
}

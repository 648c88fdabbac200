/** New rows of a list that is read wait until they are asked for: nothing moves under the pointer. */
import { useRef, useState } from "preact/hooks";

interface Waiting<Row> {
  /** The rows to show. */
  rows: Row[];
  /** How many wait. */
  count: number;
  show: () => void;
}

/**
 * Rows that came before those that are known wait while `isRead()`; those behind them are shown at once.
 *
 * `of` says which list it is: another one is shown as it is; null never waits.
 */
export function useWaiting<Row>(of: string | null, rows: Row[], rowKey: (row: Row) => string, isRead: () => boolean): Waiting<Row> {
  const known = useRef<{ of: string | null; keys: Set<string> }>({ of: null, keys: new Set() });
  const last = useRef<Row[]>([]);
  const [, turn] = useState(0);
  const all = () => {
    known.current = { of, keys: new Set(rows.map(rowKey)) };
    last.current = [];
  };
  const show = () => {
    all();
    turn((one) => one + 1);
  };
  if (of === null) return { rows, count: 0, show };
  const { keys } = known.current;
  const lastKnown = rows.findLastIndex((row) => keys.has(rowKey(row)));
  const isNew = (row: Row, index: number) => index < lastKnown && !keys.has(rowKey(row));
  if (known.current.of !== of || lastKnown < 0 || !rows.some(isNew) || !isRead()) {
    all();
    return { rows, count: 0, show };
  }
  const shown = rows.filter((row, index) => !isNew(row, index));
  for (const row of shown) keys.add(rowKey(row));
  if (shown.length !== last.current.length || shown.some((row, at) => row !== last.current[at])) last.current = shown;
  return { rows: last.current, count: rows.length - shown.length, show };
}

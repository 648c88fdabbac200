/** Which rows are selected, and which one the keys act on. */
import { computed, signal } from "@preact/signals";

export class Selection {
  readonly keys = signal<ReadonlySet<string>>(new Set());
  readonly active = signal<string | null>(null);
  readonly count = computed(() => this.keys.value.size);
  #anchor: string | null = null;

  clear(): void {
    if (this.keys.value.size) this.keys.value = new Set();
  }
  only(key: string): void {
    this.keys.value = new Set([key]);
    this.active.value = this.#anchor = key;
  }
  toggle(key: string): void {
    const keys = new Set(this.keys.value);
    if (!keys.delete(key)) keys.add(key);
    this.keys.value = keys;
    this.active.value = this.#anchor = key;
  }
  all(keys: Iterable<string>): void {
    this.keys.value = new Set(keys);
  }
  /** Select from the anchor to this row. */
  extend(order: string[], key: string): void {
    const from = order.indexOf(this.#anchor ?? this.active.value ?? key);
    const to = order.indexOf(key);
    const [low, high] = from < to ? [from, to] : [to, from];
    this.keys.value = new Set(order.slice(Math.max(0, low), high + 1));
    this.active.value = key;
  }
  move(key: string | null): void {
    this.active.value = key;
    this.#anchor = key;
  }
  /** Drop what is gone; the row after it becomes the active one. */
  keep(order: string[], before: string[]): void {
    const there = new Set(order);
    const kept = [...this.keys.value].filter((key) => there.has(key));
    if (kept.length !== this.keys.value.size) this.keys.value = new Set(kept);
    const active = this.active.value;
    if (active === null || there.has(active)) return;
    const at = before.indexOf(active);
    const next = before.slice(at + 1).find((key) => there.has(key)) ?? order[Math.min(at, order.length) - 1] ?? null;
    this.move(next);
  }
}

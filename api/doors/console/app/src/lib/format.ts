/** Numbers, sizes and times as people read them. Unknown is "–" and never 0. */
import { language } from "./text";

export const UNKNOWN = "–";
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

/** A formatter for each language: making one costs more than a hundred uses. */
function kept<F>(make: (language: string) => F): () => F {
  const made = new Map<string, F>();
  return () => {
    const known = made.get(language.value) ?? make(language.value);
    made.set(language.value, known);
    return known;
  };
}
const plain = kept((one) => new Intl.NumberFormat(one));
const digitsOf = [0, 1, 2].map((digits) => kept((one) => new Intl.NumberFormat(one, { maximumFractionDigits: digits })));
const relativeOf = kept((one) => new Intl.RelativeTimeFormat(one, { numeric: "auto" }));
const dayOf = kept((one) => new Intl.DateTimeFormat(one, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }));
const yearOf = kept((one) => new Intl.DateTimeFormat(one, { day: "numeric", month: "short", year: "numeric" }));
const exactOf = kept((one) => new Intl.DateTimeFormat(one, { dateStyle: "medium", timeStyle: "long" }));

export function number(value: number | null | undefined): string {
  return value == null ? UNKNOWN : plain().format(value);
}

/** A size in binary units: three digits at most. */
export function size(bytes: number | null | undefined): string {
  if (bytes == null) return UNKNOWN;
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${digitsOf[digits]!().format(value)} ${UNITS[unit]}`;
}

export function exactBytes(bytes: number | null | undefined): string {
  return bytes == null ? UNKNOWN : `${number(bytes)} B`;
}

export const rate = (perSecond: number | null | undefined) =>
  perSecond == null ? UNKNOWN : `${size(perSecond)}/s`;

/** A duration in its two largest units. */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null || !isFinite(seconds)) return UNKNOWN;
  const unit = (value: number, name: string) =>
    new Intl.NumberFormat(language.value, {
      style: "unit",
      unit: name,
      unitDisplay: "narrow",
      maximumFractionDigits: 0,
    }).format(Math.floor(value));
  if (seconds < MINUTE) return unit(seconds, "second");
  if (seconds < HOUR)
    return `${unit(seconds / MINUTE, "minute")} ${unit(seconds % MINUTE, "second")}`;
  if (seconds < DAY) return `${unit(seconds / HOUR, "hour")} ${unit((seconds % HOUR) / MINUTE, "minute")}`;
  return `${unit(seconds / DAY, "day")} ${unit((seconds % DAY) / HOUR, "hour")}`;
}

/** A moment: relative within a day, a date else. */
export function moment(at: string | null | undefined, now = Date.now()): string {
  if (!at) return UNKNOWN;
  const date = new Date(at);
  const seconds = (date.getTime() - now) / 1000;
  const relative = relativeOf();
  if (Math.abs(seconds) < MINUTE) return relative.format(Math.round(seconds), "second");
  if (Math.abs(seconds) < HOUR) return relative.format(Math.round(seconds / MINUTE), "minute");
  if (Math.abs(seconds) < DAY) return relative.format(Math.round(seconds / HOUR), "hour");
  const sameYear = date.getFullYear() === new Date(now).getFullYear();
  return (sameYear ? dayOf() : yearOf()).format(date);
}

/** A moment in full, with its zone. */
export function exactMoment(at: string | null | undefined): string {
  if (!at) return UNKNOWN;
  return exactOf().format(new Date(at));
}

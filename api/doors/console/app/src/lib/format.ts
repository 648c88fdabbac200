/** Numbers, sizes and times as people read them. Unknown is "–" and never 0. */
import { language } from "./text";

export const UNKNOWN = "–";
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

export function number(value: number | null | undefined): string {
  return value == null ? UNKNOWN : new Intl.NumberFormat(language.value).format(value);
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
  const text = new Intl.NumberFormat(language.value, { maximumFractionDigits: digits });
  return `${text.format(value)} ${UNITS[unit]}`;
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
  const relative = new Intl.RelativeTimeFormat(language.value, { numeric: "auto" });
  if (Math.abs(seconds) < MINUTE) return relative.format(Math.round(seconds), "second");
  if (Math.abs(seconds) < HOUR) return relative.format(Math.round(seconds / MINUTE), "minute");
  if (Math.abs(seconds) < DAY) return relative.format(Math.round(seconds / HOUR), "hour");
  const sameYear = date.getFullYear() === new Date(now).getFullYear();
  return new Intl.DateTimeFormat(language.value, {
    day: "numeric",
    month: "short",
    ...(sameYear ? { hour: "2-digit", minute: "2-digit" } : { year: "numeric" }),
  }).format(date);
}

/** A moment in full, with its zone. */
export function exactMoment(at: string | null | undefined): string {
  if (!at) return UNKNOWN;
  return new Intl.DateTimeFormat(language.value, {
    dateStyle: "medium",
    timeStyle: "long",
  }).format(new Date(at));
}

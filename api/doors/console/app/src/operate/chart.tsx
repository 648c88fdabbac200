/** Charts: small lines of our own, and the same numbers as a table. */
import { useId } from "preact/hooks";
import { exactMoment, UNKNOWN } from "../lib/format";
import type { Known } from "./types";
import { Table } from "./parts";
import { t } from "./text";

export interface Line {
  name: string;
  values: Known[];
  kind: "first" | "second";
}

const WIDTH = 600;
const HEIGHT = 96;
const EDGE = 3;
/** The width is always an hour, also while fewer points are known. */
const SPAN_SECONDS = 3600;
/** The table has one row for so many points: a minute. */
const ROW_POINTS = 12;

/** The path of a line: a gap where a value is not known. */
function pathOf(values: Known[], at: number[], most: number): string {
  const begin = (at[at.length - 1] ?? 0) - SPAN_SECONDS;
  let text = "";
  let pen = false;
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      pen = false;
      return;
    }
    const x = Math.max(0, ((at[index]! - begin) / SPAN_SECONDS) * WIDTH);
    const y = HEIGHT - EDGE - (value / most) * (HEIGHT - 2 * EDGE);
    text += `${pen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = true;
  });
  return text;
}

const last = (values: Known[]): Known => values[values.length - 1] ?? null;
const highest = (values: Known[]): Known => {
  const known = values.filter((one): one is number => one !== null);
  return known.length ? Math.max(...known) : null;
};
function mean(values: Known[]): Known {
  const known = values.filter((one): one is number => one !== null);
  return known.length ? known.reduce((sum, one) => sum + one, 0) / known.length : null;
}

/** Lines over the last hour, with the newest and the highest value in words. */
export function Chart({ title, at, lines, format }: {
  title: string;
  at: number[];
  lines: Line[];
  format: (value: Known) => string;
}) {
  const id = useId();
  const most = Math.max(1e-9, ...lines.map((one) => highest(one.values) ?? 0));
  const known = lines.some((one) => highest(one.values) !== null);
  return (
    <figure class="chart" aria-labelledby={id}>
      <figcaption id={id}>
        <span class="chart-title">{title}</span>
        {lines.map((one) => (
          <span key={one.name} class={`legend ${one.kind}`}>
            {one.name} <strong>{format(last(one.values))}</strong>
            <span class="muted"> {t("chart.most", { value: format(highest(one.values)) })}</span>
          </span>
        ))}
      </figcaption>
      {known ? (
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-labelledby={id} focusable="false">
          <line x1="0" x2={WIDTH} y1={HEIGHT - EDGE} y2={HEIGHT - EDGE} class="ground" />
          {lines.map((one) => <path key={one.name} class={one.kind} d={pathOf(one.values, at, most)} />)}
        </svg>
      ) : <p class="muted">{t("chart.unknown")}</p>}
      {known && (
        <details>
          <summary>{t("chart.table")}</summary>
          <Minutes title={title} at={at} lines={lines} format={format} />
        </details>
      )}
    </figure>
  );
}

/** The mean of each minute, the newest first. */
function Minutes({ title, at, lines, format }: { title: string; at: number[]; lines: Line[]; format: (value: Known) => string }) {
  const rows = [];
  for (let end = at.length; end > 0; end -= ROW_POINTS) {
    const begin = Math.max(0, end - ROW_POINTS);
    const moment = at[end - 1];
    rows.push({
      key: String(moment),
      cells: [
        moment === undefined ? UNKNOWN : exactMoment(new Date(moment * 1000).toISOString()),
        ...lines.map((one) => format(mean(one.values.slice(begin, end)))),
      ],
    });
  }
  return <Table label={title} head={[t("column.minute"), ...lines.map((one) => one.name)]} rows={rows} />;
}

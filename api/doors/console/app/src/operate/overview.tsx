/** The cluster on one page: what is slow, what is full, what failed, what to press. */
import { duration, number, rate } from "../lib/format";
import { path } from "../lib/router";
import { Button, State } from "../ui/controls";
import { Icon } from "../ui/icon";
import { Part } from "../ui/parts";
import { resume, undrain } from "./acts";
import { Chart } from "./chart";
import { Box, Figure, Head, Table, usePolled, whyNot, type Polled } from "./parts";
import { t, type TextKey } from "./text";
import type { Attention, Known, Overview as Document, Series } from "./types";

const OVERVIEW_MS = 5000;
const SERIES_MS = 15_000;
const counted = (value: Known) => number(value === null ? null : Math.round(value));

export function Overview(_: { segments: string[] }) {
  const load = usePolled<Document>("/v1/overview", OVERVIEW_MS, "volumes,nodes,jobs");
  const series = usePolled<Series>("/v1/series", SERIES_MS);
  return (
    <section class={`dashboard ${load.away ? "away" : ""}`}>
      <Head title={t("overview")} of={load} />
      <Part load={load}>
        {(found) => (
          <>
            <p class="health"><State kind={found.health.state}>{healthOf(found)}</State></p>
            <Figures found={found} />
            <NeedsAttention found={found} load={load} />
          </>
        )}
      </Part>
      <Box title={t("last-hour")} class={series.away ? "away" : ""}>
        <Part load={series} rows={4} empty={(data) => (data.at.length ? null : <p class="muted">{t("series.empty")}</p>)}>
          {(data) => <Charts data={data} />}
        </Part>
      </Box>
      {load.data && (
        <div class="two">
          <Queues found={load.data} />
          <Failures found={load.data} />
        </div>
      )}
    </section>
  );
}

function healthOf(found: Document): string {
  const { state } = found.health;
  if (state === "ok") return t("health.ok");
  const n = found.attention.filter((one) => one.severity === state).length;
  return t(`health.${state}`, { n });
}

function Figures({ found }: { found: Document }) {
  const { nodes, volumes, jobs } = found;
  return (
    <dl class="figures">
      <Figure name={t("nodes")} value={number(nodes.alive)} kind={nodes.silent ? "bad" : "ok"}
        more={[nodes.draining && t("nodes.draining", { n: nodes.draining }), nodes.silent && t("nodes.silent", { n: nodes.silent })].filter(Boolean).join(" · ") || t("nodes.all")} />
      <Figure name={t("volumes")} value={t("of", { done: volumes.ready, total: volumes.total })} kind={volumes.away ? "bad" : volumes.partly || volumes.paused ? "warn" : "ok"}
        more={[volumes.away && t("volumes.away", { n: volumes.away }), volumes.partly && t("volumes.partly", { n: volumes.partly }), volumes.paused && t("volumes.paused", { n: volumes.paused })].filter(Boolean).join(" · ") || t("volumes.ready")} />
      <Figure name={t("jobs.running")} value={number(jobs.running)} more={t("jobs.waiting", { n: jobs.waiting })} />
      <Figure name={t("oldest")} value={jobs.waiting ? duration(jobs.oldest_seconds) : t("none")} />
      <Figure name={t("received")} value={rate(found.throughput.received_bytes_per_second)} />
      <Figure name={t("sent")} value={rate(found.throughput.sent_bytes_per_second)} />
      <Figure name={t("uploads.open")} value={number(found.uploads_open)} />
    </dl>
  );
}

const PLACES: Record<string, (name: string) => string> = {
  volume: (name) => path(["op", "volumes", name]),
  node: () => path(["op", "nodes"]),
  nodes: () => path(["op", "nodes"]),
  jobs: () => path(["op", "jobs"], { state: "failed" }),
  events: () => path(["op", "events"]),
  quota: () => path(["op", "quota"]),
};

function NeedsAttention({ found, load }: { found: Document; load: Polled<Document> }) {
  const reload = () => load.reload();
  return (
    <Box title={t("attention")}>
      {found.attention.length === 0 ? <p class="muted">{t("attention.empty")}</p> : (
        <ul class="attention">
          {found.attention.map((one) => (
            <li key={`${one.kind} ${one.target}`} class={one.severity}>
              <Icon name={one.severity === "bad" ? "error" : one.severity === "warn" ? "warning" : "info"} />
              <span class="visually-hidden">{t(`severity.${one.severity}` as TextKey)}</span>
              <span class="what">{one.text}</span>
              <Acts one={one} away={load.away} done={reload} />
            </li>
          ))}
        </ul>
      )}
    </Box>
  );
}

function Acts({ one, away, done }: { one: Attention; away: boolean; done: () => void }) {
  const [kind = "", ...rest] = one.target.split(":");
  const name = rest.join(":");
  const to = PLACES[kind]?.(name);
  const why = whyNot(away);
  return (
    <span class="acts">
      {to && <a class="button" href={to}>{t("open")}<span class="visually-hidden"> {one.text}</span></a>}
      {one.act === "resume" && <Button disabled={Boolean(why)} title={why} onClick={() => resume(name, done)}>{t("volume.resume")}</Button>}
      {one.act === "undrain" && <Button disabled={Boolean(why)} title={why} onClick={() => undrain(name, done)}>{t("node.undrain")}</Button>}
    </span>
  );
}

function Charts({ data }: { data: Series }) {
  const volumes = Object.entries(data.volumes);
  return (
    <div class="charts">
      <Chart title={t("doors")} at={data.at} format={rate} lines={[
        { name: t("received"), values: data.received, kind: "first" },
        { name: t("sent"), values: data.sent, kind: "second" },
      ]} />
      <Chart title={t("jobs")} at={data.at} format={counted} lines={[
        { name: t("running"), values: data.running, kind: "first" },
        { name: t("waiting"), values: data.waiting, kind: "second" },
      ]} />
      {volumes.map(([name, one]) => (
        <Chart key={name} title={t("volume.of", { name })} at={data.at} format={rate} lines={[
          { name: t("read"), values: one.read, kind: "first" },
          { name: t("written"), values: one.written, kind: "second" },
        ]} />
      ))}
    </div>
  );
}

function Queues({ found }: { found: Document }) {
  return (
    <Box title={t("queues")}>
      {found.lanes.length === 0 ? <p class="muted">{t("queues.empty")}</p> : (
        <Table label={t("queues")} head={[t("column.volume"), t("column.lane"), t("running"), t("waiting"), t("oldest")]}
          rows={found.lanes.map((one) => ({
            key: `${one.volume} ${one.lane}`,
            cells: [
              <a href={path(["op", "jobs"], { volume: one.volume })}>{one.volume}</a>, one.lane,
              one.slots === null ? number(one.running) : t("of", { done: one.running, total: one.slots }), number(one.waiting),
              one.waiting === 0 ? t("none") : duration(one.oldest_seconds),
            ],
          }))} />
      )}
    </Box>
  );
}

function Failures({ found }: { found: Document }) {
  return (
    <Box title={t("failures")}>
      {found.failures.length === 0 ? <p class="muted">{t("failures.empty")}</p> : (
        <Table label={t("failures")} head={[t("column.code"), t("jobs")]}
          rows={found.failures.map((one) => ({ key: one.error_code, cells: [<code>{one.error_code}</code>, number(one.jobs)] }))} />
      )}
    </Box>
  );
}

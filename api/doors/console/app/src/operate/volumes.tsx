/** Volumes: state, fullness, queue and bandwidth of all, and everything about one. */
import { useSignal } from "@preact/signals";
import { duration, number, rate, size, UNKNOWN } from "../lib/format";
import { BASE, go, path } from "../lib/router";
import { Button, Field, Size, State, Time } from "../ui/controls";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Notice, Part } from "../ui/parts";
import { limit, pause, rescan, resume } from "./acts";
import { Chart } from "./chart";
import { Doctor } from "./doctor";
import { Box, Figure, Head, Share, Table, usePolled, whyNot, type Aged } from "./parts";
import { t, type TextKey } from "./text";
import type { Series, Volume } from "./types";

const VOLUMES_MS = 5000;
const SERIES_MS = 15_000;
const KINDS = { ready: "ok", partly: "warn", away: "bad" } as const;
const MIB = 1024 * 1024;

export function Volumes({ segments }: { segments: string[] }) {
  return segments[0] ? <OneVolume name={segments[0]} /> : <VolumeList />;
}

export function VolumeState({ volume }: { volume: Volume }) {
  if (volume.paused) return <State kind="warn">{t("volume.paused")}</State>;
  return <State kind={KINDS[volume.state]}>{t(`volume.${volume.state}` as TextKey)}</State>;
}

const sum = (volume: Volume, key: "running" | "waiting") =>
  volume.lanes.some((one) => one[key] === null) ? null : volume.lanes.reduce((all, one) => all + (one[key] ?? 0), 0);

function usedOf(volume: Volume): string {
  if (!volume.capacity) return UNKNOWN;
  return t("used.of", { used: size(volume.capacity.used_bytes), size: size(volume.capacity.capacity_bytes) });
}

const COLUMNS = (): Array<Column<Volume>> => [
  {
    key: "name", title: t("column.volume"), width: "minmax(120px, 1fr)",
    cell: (volume) => <a class="entry" href={path(["op", "volumes", volume.name])} tabIndex={-1}><Icon name="volume" class="kind" /><span class="name">{volume.name}</span></a>,
  },
  { key: "state", title: t("column.state"), width: "140px", cell: (volume) => <VolumeState volume={volume} /> },
  {
    key: "used", title: t("column.used"), width: "minmax(180px, 1fr)", from: 700,
    cell: (volume) => <Share used={volume.capacity?.used_bytes} size={volume.capacity?.capacity_bytes} label={t("used.label", { name: volume.name })} text={usedOf(volume)} />,
  },
  { key: "read", title: t("read"), width: "110px", end: true, from: 900, cell: (volume) => rate(volume.speed?.read_bytes_per_second) },
  { key: "written", title: t("written"), width: "110px", end: true, from: 900, cell: (volume) => rate(volume.speed?.written_bytes_per_second) },
  { key: "running", title: t("running"), width: "90px", end: true, from: 620, cell: (volume) => number(sum(volume, "running")) },
  { key: "waiting", title: t("waiting"), width: "90px", end: true, from: 620, cell: (volume) => number(sum(volume, "waiting")) },
  { key: "limit", title: t("column.limit"), width: "110px", end: true, from: 1000, cell: (volume) => volume.bandwidth ? rate(volume.bandwidth.bytes_per_second) : t("bandwidth.none") },
];

function VolumeList() {
  const load = usePolled<{ volumes: Volume[] }>("/v1/volumes", VOLUMES_MS, "volumes");
  const reload = () => load.reload();
  return (
    <section class={`whole ${load.away ? "away" : ""}`}>
      <Head title={t("volumes")} of={load} />
      <Part load={load} empty={(data) => (data.volumes.length ? null : <Empty icon="volume" text={t("volumes.empty")} />)}>
        {(data) => (
          <Grid label={t("volumes")} rows={data.volumes} rowKey={(one) => one.name} text={(one) => one.name} columns={COLUMNS()}
            detail={(one) => <><VolumeState volume={one} /> · {usedOf(one)}</>} onOpen={(one) => go(path(["op", "volumes", one.name]))}
            menu={(one) => acts(one, load, reload)} />
        )}
      </Part>
    </section>
  );
}

function acts(volume: Volume, load: Aged, done: () => void) {
  const why = whyNot(load.away);
  const off = { disabled: Boolean(why), why };
  return [
    { label: t("open"), icon: "open" as const, run: () => go(path(["op", "volumes", volume.name])) },
    volume.paused
      ? { label: t("volume.resume"), icon: "play" as const, ...off, run: () => resume(volume.name, done) }
      : { label: t("volume.pause"), icon: "pause" as const, danger: true, ...off, run: () => pause(volume, done) },
    { label: t("rescan"), icon: "search" as const, ...off, run: () => rescan(volume.name, (job) => go(path(["op", "jobs", job.id]))) },
  ];
}

function OneVolume({ name }: { name: string }) {
  const load = usePolled<Volume>(`/v1/volumes/${encodeURIComponent(name)}`, VOLUMES_MS, "volumes");
  const series = usePolled<Series>("/v1/series", SERIES_MS);
  const why = whyNot(load.away);
  const reload = () => load.reload();
  const volume = load.data;
  return (
    <section class={`dashboard ${load.away ? "away" : ""}`}>
      <p><a href={`${BASE}/op/volumes`}>{t("volumes")}</a></p>
      <Head title={name} of={load}>
        {volume && (
          <>
            {volume.paused
              ? <Button icon="play" disabled={Boolean(why)} title={why} onClick={() => resume(name, reload)}>{t("volume.resume")}</Button>
              : <Button icon="pause" disabled={Boolean(why)} title={why} onClick={() => pause(volume, reload)}>{t("volume.pause")}</Button>}
            <Button icon="search" disabled={Boolean(why)} title={why} onClick={() => rescan(name, (job) => go(path(["op", "jobs", job.id])))}>{t("rescan")}</Button>
          </>
        )}
      </Head>
      <Part load={load} subject={name}>
        {(found) => (
          <>
            <p class="health"><VolumeState volume={found} /></p>
            {found.state !== "ready" && found.state_reason && <Notice kind="warn"><p>{found.state_reason}</p></Notice>}
            {found.paused && (
              <Notice kind="warn">
                <p>{found.pause?.reason ? t("volume.paused.why", { reason: found.pause.reason }) : t("volume.paused.no-reason")}</p>
                {found.pause?.by && <p class="muted">{found.pause.by} · <Time at={found.pause.at} /></p>}
              </Notice>
            )}
            <Facts volume={found} />
            <div class="two">
              <Box title={t("capacity")} aside={<span class="muted">{t("as-of")} <Time at={found.capacity?.as_of} /></span>}>
                <Share used={found.capacity?.used_bytes} size={found.capacity?.capacity_bytes} label={t("space")} text={<>{t("space")}: {usedOf(found)}</>} />
                <Share used={found.capacity?.used_inodes} size={found.capacity?.inodes} label={t("inodes")}
                  text={t("inodes.of", { used: number(found.capacity?.used_inodes), size: number(found.capacity?.inodes) })} />
                {!found.capacity && <p class="muted">{t("capacity.unknown")}</p>}
              </Box>
              <Bandwidth key={String(found.bandwidth?.bytes_per_second)} volume={found} why={why} done={reload} />
            </div>
            <div class="two">
              <Box title={t("queues")}>
                <Table label={t("queues")} head={[t("column.lane"), t("running"), t("waiting"), t("oldest")]} rows={found.lanes.map((one) => ({
                  key: one.lane,
                  cells: [one.lane, one.slots === null ? number(one.running) : t("of", { done: one.running, total: one.slots }), number(one.waiting), one.waiting === 0 ? t("none") : duration(one.oldest_seconds)],
                }))} />
                <p><a href={path(["op", "jobs"], { volume: name })}>{t("volume.jobs")}</a></p>
              </Box>
              <Box title={t("nodes")}>
                <Table label={t("nodes")} head={[t("column.node"), t("column.state"), t("column.reason")]} rows={found.nodes.map((one) => ({
                  key: one.id,
                  cells: [one.id, <State kind={!one.alive ? "idle" : one.proven ? "ok" : "bad"}>{t(!one.alive ? "node.silent" : one.proven ? "volume.ready" : "volume.away")}</State>, one.reason ?? UNKNOWN],
                }))} />
              </Box>
            </div>
          </>
        )}
      </Part>
      <Doctor key={name} volume={name} />
      <Box title={t("last-hour")}>
        <Part load={series} rows={2}>
          {(data) => {
            const one = data.volumes[name];
            return one ? (
              <Chart title={t("volume.of", { name })} at={data.at} format={rate} lines={[
                { name: t("read"), values: one.read, kind: "first" }, { name: t("written"), values: one.written, kind: "second" },
              ]} />
            ) : <p class="muted">{t("chart.unknown")}</p>;
          }}
        </Part>
      </Box>
    </section>
  );
}

const micro = (usec: number | null | undefined) => usec == null ? UNKNOWN : t("milliseconds", { n: Math.round(usec / 100) / 10 });

function Facts({ volume }: { volume: Volume }) {
  const { speed, hidden, proof } = volume;
  return (
    <>
      <dl class="figures">
        <Figure name={t("read")} value={rate(speed?.read_bytes_per_second)} more={t("per-call", { time: micro(speed?.read_usec) })} />
        <Figure name={t("written")} value={rate(speed?.written_bytes_per_second)} more={t("per-call", { time: micro(speed?.write_usec) })} />
        <Figure name={t("proof")} value={proof?.seconds == null ? UNKNOWN : t("milliseconds", { n: Math.round(proof.seconds * 1000) })} more={<Time at={proof?.at} />} />
        <Figure name={t("trash")} value={<Size bytes={hidden?.trash_bytes} />} kind={hidden?.trash_overdue_seconds ? "warn" : ""}
          more={hidden?.trash_overdue_seconds ? t("overdue", { time: duration(hidden.trash_overdue_seconds) }) : <Time at={hidden?.as_of} />} />
        <Figure name={t("staging")} value={<Size bytes={hidden?.staging_bytes} />} more={<Time at={hidden?.as_of} />} />
      </dl>
      <p class="muted">
        {t("backend")}: {volume.backend ?? UNKNOWN}{volume.path && <> · <code>{volume.path}</code></>}
      </p>
      {volume.capabilities.length > 0 && <ul class="chips" aria-label={t("capabilities")}>{volume.capabilities.map((one) => <li key={one}>{one}</li>)}</ul>}
    </>
  );
}

const STEPS = 60;
const LEAST = MIB;
const MOST = 10 * 1024 * MIB;
/** The slider is even in doublings, from 1 MiB/s to 10 GiB/s. */
const rateOf = (step: number) => Math.round(LEAST * (MOST / LEAST) ** (step / STEPS));
const stepOf = (perSecond: number) => Math.round((Math.log(perSecond / LEAST) / Math.log(MOST / LEAST)) * STEPS);

function Bandwidth({ volume, why, done }: { volume: Volume; why: string | undefined; done: () => void }) {
  const now = volume.bandwidth?.bytes_per_second ?? null;
  const step = useSignal(now === null ? STEPS / 2 : Math.max(0, Math.min(STEPS, stepOf(now))));
  const chosen = rateOf(step.value);
  return (
    <Box title={t("bandwidth")}>
      <p>{now === null ? t("bandwidth.now.none") : t("bandwidth.now", { rate: rate(now), jobs: number(volume.bandwidth?.jobs), streams: number(volume.bandwidth?.streams) })}</p>
      <Field label={t("bandwidth.new", { rate: rate(chosen) })}>
        {(ids) => <input {...ids} type="range" min={0} max={STEPS} value={step.value} disabled={Boolean(why)} aria-valuetext={rate(chosen)}
          onInput={(event) => (step.value = Number(event.currentTarget.value))} />}
      </Field>
      <div class="acts">
        <Button disabled={Boolean(why)} title={why} onClick={() => limit(volume, chosen, done)}>{t("bandwidth.set")}</Button>
        {now !== null && <Button disabled={Boolean(why)} title={why} onClick={() => limit(volume, null, done)}>{t("bandwidth.lift")}</Button>}
      </div>
    </Box>
  );
}

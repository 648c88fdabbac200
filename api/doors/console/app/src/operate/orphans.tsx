/** Orphans: what the last rescan of each volume found, and the repair of it. */
import { number, size } from "../lib/format";
import { go, path } from "../lib/router";
import { Button, State, Time } from "../ui/controls";
import { Empty, Part } from "../ui/parts";
import { repair, rescan } from "./acts";
import { Box, Head, Table, usePolled, whyNot } from "./parts";
import { t, type TextKey } from "./text";
import type { Rescan } from "./types";

const ORPHANS_MS = 15_000;
interface Found {
  volumes: Array<{ volume: string; rescan: Rescan | null }>;
}

export function Orphans(_: { segments: string[] }) {
  const load = usePolled<Found>("/v1/orphans", ORPHANS_MS, "findings");
  return (
    <section class={`dashboard ${load.away ? "away" : ""}`}>
      <Head title={t("orphans")} of={load} />
      <p class="muted">{t("orphans.hint")}</p>
      <Part load={load} empty={(data) => (data.volumes.length ? null : <Empty icon="repair" text={t("volumes.empty")} />)}>
        {(data) => <>{data.volumes.map((one) => <OneVolume key={one.volume} name={one.volume} found={one.rescan} away={load.away} />)}</>}
      </Part>
    </section>
  );
}

/** The kinds that a rescan puts right; the service refuses others. `drift` is put right by each rescan. */
const REPAIRABLE = ["empty-prefix", "metadata-of-nobody", "orphaned-record", "limit-of-nobody", "figure-of-nobody", "limit-changed"];
const KINDS = [...REPAIRABLE, "unknown", "left-over", "record-forged", "drift"];

const kindOf = (kind: string) => KINDS.includes(kind) ? t(`orphan.${kind}` as TextKey) : kind;
const openOf = (found: Rescan, kind: string) => (found.found[kind] ?? 0) - (found.repaired[kind] ?? 0);

function OneVolume({ name, found, away }: { name: string; found: Rescan | null; away: boolean }) {
  const why = whyNot(away);
  const off = { disabled: Boolean(why), title: why };
  const kinds = Object.keys(found?.found ?? {}).sort();
  const open = kinds.reduce((sum, kind) => sum + openOf(found!, kind), 0);
  const started = (job: { id: string }) => go(path(["op", "jobs", job.id]));
  const row = (kind: string) => {
    const left = openOf(found!, kind);
    return [
      <>{kindOf(kind)}<br /><code class="muted">{kind}</code></>, number(found!.found[kind]), number(found!.repaired[kind] ?? 0),
      REPAIRABLE.includes(kind) && left > 0
        ? <Button kind="quiet" icon="repair" {...off} onClick={() => repair(name, kind, kindOf(kind), left, started)}>{t("orphans.repair", { n: left })}</Button>
        : <span class="muted">{t(kind === "drift" ? "orphans.by-itself" : kind === "left-over" ? "orphans.sweep" : REPAIRABLE.includes(kind) ? "none" : "orphans.by-hand")}</span>,
    ];
  };
  return (
    <Box title={name} aside={
      <span class="acts">
        {found?.job && <a class="button" href={path(["op", "jobs", found.job])}>{t("orphans.each")}</a>}
        <Button icon="search" {...off} onClick={() => rescan(name, started)}>{t("rescan")}</Button>
      </span>
    }>
      {!found ? <p class="muted">{t("orphans.never")}</p> : (
        <>
          <p>
            <State kind={open || found.drifted ? "warn" : "ok"}>{open || found.drifted ? t("orphans.open", { n: open + found.drifted }) : t("orphans.none")}</State>
            <span class="muted"> · {t("orphans.counted", { n: found.scopes })} · <Time at={found.as_of} />{!found.complete && <> · {t("orphans.incomplete")}</>}</span>
          </p>
          {kinds.length > 0 && (
            <Table label={t("orphans")} head={[t("column.kind"), t("column.found"), t("column.repaired"), t("column.act")]}
              rows={kinds.map((kind) => ({ key: kind, cells: row(kind) }))} />
          )}
          {found.drift.length > 0 && (
            <Table label={t("drift")} head={[t("column.scope"), t("drift")]}
              rows={found.drift.map((one) => ({ key: one.scope, cells: [<code>{one.scope}</code>, size(one.drift_bytes)] }))} />
          )}
        </>
      )}
    </Box>
  );
}

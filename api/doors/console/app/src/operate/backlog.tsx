/** Trash backlog: what waits on each volume, and what is kept of one quota scope. */
import { useSignal } from "@preact/signals";
import { call, get, post } from "../lib/api";
import { duration, number, size } from "../lib/format";
import type { Job } from "../lib/jobs";
import { useLoad } from "../lib/load";
import { go, path, place, setQuery } from "../lib/router";
import { Button, Field, Size, Time } from "../ui/controls";
import { FormDialog, openDialog } from "../ui/dialog";
import { Part } from "../ui/parts";
import { toast } from "../ui/toast";
import { askWhy, Box, Head, Table, usePolled, whyNot } from "./parts";
import { t } from "./text";
import type { Hidden } from "./types";

const BACKLOG_MS = 15_000;
interface Purges {
  entries_per_second: number | null;
  each_entries_per_second: number | null;
  purges: number;
  observed_entries_per_second: number | null;
  as_of: string | null;
}
interface Waiting {
  volume: string;
  hidden: Hidden | null;
  purges: Purges;
}
interface Backlog {
  volumes: Waiting[];
}
interface Kept {
  id: string;
  vfolder: string;
  deleted_at: string;
  expires_at: string;
  size_bytes: number | null;
  entries: number | null;
  restorable: boolean;
}

const late = (seconds: number | null | undefined) =>
  seconds == null ? "–" : seconds > 0 ? <span class="wrong">{duration(seconds)}</span> : t("none");

export function Backlog(_: { segments: string[] }) {
  const load = usePolled<Backlog>("/v1/trash", BACKLOG_MS, "findings");
  const why = whyNot(load.away);
  return (
    <section class={`dashboard ${load.away ? "away" : ""}`}>
      <Head title={t("backlog")} of={load} />
      <p class="muted">{t("backlog.hint")}</p>
      <Part load={load}>
        {(data) => (
          <Table label={t("backlog")} head={[t("column.volume"), t("trash"), t("column.overdue"), t("column.purges"), t("column.purge-rate"), t("staging"), t("column.overdue"), t("column.swept")]}
            rows={data.volumes.map((one) => ({
              key: one.volume,
              cells: [
                <a href={path(["op", "volumes", one.volume])}>{one.volume}</a>,
                <Size bytes={one.hidden?.trash_bytes} />, late(one.hidden?.trash_overdue_seconds),
                <Running purges={one.purges} />,
                <span class="acts">
                  <span>{limitOf(one.purges)}</span>
                  <Button kind="quiet" icon="rename" disabled={Boolean(why)} title={why} onClick={() => openDialog((close) => <NewRate of={one} close={close} done={load.reload} />)}>{t("purge-rate.change")}</Button>
                </span>,
                <Size bytes={one.hidden?.staging_bytes} />, late(one.hidden?.staging_overdue_seconds),
                one.hidden ? <Time at={one.hidden.as_of} /> : t("never"),
              ],
            }))} />
        )}
      </Part>
      <OneScope volumes={load.data?.volumes.map((one) => one.volume) ?? []} away={load.away} />
    </section>
  );
}

const perSecond = (entries: number) => t("purge-rate.of", { n: number(entries) });

function limitOf({ entries_per_second: shared, each_entries_per_second: each }: Purges): string {
  if (shared !== null) return perSecond(shared);
  return each === null ? t("purge-rate.none") : t("purge-rate.each", { rate: perSecond(each) });
}

/** What runs, and how fast the running ones said that they are. */
function Running({ purges: { purges, observed_entries_per_second: observed, as_of } }: { purges: Purges }) {
  if (purges === 0) return <>{t("none")}</>;
  if (observed === null) return <>{t("purges.unknown", { n: purges })}</>;
  return <>{t("purges.rate", { n: purges, rate: perSecond(Math.round(observed * 10) / 10) })} <span class="muted"><Time at={as_of} /></span></>;
}

const MOST = 1_000_000_000;

function NewRate({ of, close, done }: { of: Waiting; close: () => void; done: () => void }) {
  const text = useSignal(of.purges.entries_per_second === null ? "" : String(of.purges.entries_per_second));
  const reason = useSignal("");
  const typed = text.value.trim();
  const chosen = typed === "" ? null : Number(typed);
  const wrong = chosen !== null && !(/^\d+$/.test(typed) && chosen >= 1 && chosen <= MOST);
  return (
    <FormDialog title={t("purge-rate.title", { name: of.volume })} confirm={t(chosen === null ? "purge-rate.lift" : "purge-rate.set")} disabled={wrong} onClose={close}
      onConfirm={async () => {
        const why = reason.value.trim();
        await call("PUT", `/v1/volumes/${encodeURIComponent(of.volume)}/purge-rate`, { body: { entries_per_second: chosen, ...(why ? { reason: why } : {}) } });
        done();
        toast(t("purge-rate.done"));
      }}>
      <p>{t("purge-rate.body")}</p>
      <Field label={t("purge-rate.field")} hint={t("purge-rate.hint")} error={wrong ? t("purge-rate.wrong") : undefined}>
        {(ids) => <input {...ids} inputMode="numeric" autocomplete="off" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />}
      </Field>
      <p class="muted">{t("purge-rate.back", { rate: limitOf(of.purges) })}</p>
      <Field label={t("reason.optional")} hint={t("reason.hint")}>
        {(ids) => <input {...ids} value={reason.value} maxLength={500} autocomplete="off" onInput={(event) => (reason.value = event.currentTarget.value)} />}
      </Field>
    </FormDialog>
  );
}

function OneScope({ volumes, away }: { volumes: string[]; away: boolean }) {
  const { query } = place.value;
  const volume = query.volume ?? volumes[0] ?? "";
  const text = useSignal(query.scope ?? "");
  const scope = query.scope ?? "";
  const at = `/v1/volumes/${encodeURIComponent(volume)}/scopes/${encodeURIComponent(scope)}/trash`;
  const load = useLoad(scope && volume ? at : null, (signal) => get<{ trash: Kept[]; size_bytes: number }>(at, { signal }));
  const why = whyNot(away);
  const purge = (one: Kept) => askWhy({
    title: t("purge.title"),
    body: <><p><code>{one.vfolder}</code></p><p>{t("purge.body", { size: size(one.size_bytes) })}</p></>,
    confirm: t("purge"),
    danger: true,
    run: async (reason) => {
      const job = await post<Job>(`${at}/${one.id}/purge`, { reason });
      go(path(["op", "jobs", job.id]));
    },
    done: t("purge.done"),
  });
  return (
    <Box title={t("scope.trash")}>
      <form class="filters" onSubmit={(event) => { event.preventDefault(); setQuery({ volume, scope: text.value.trim() || null }); }}>
        <label class="inline"><span>{t("column.volume")}</span>
          <select value={volume} onChange={(event) => setQuery({ volume: event.currentTarget.value })}>
            {volumes.map((one) => <option key={one} value={one}>{one}</option>)}
          </select>
        </label>
        <label class="inline wide"><span>{t("column.scope")}</span>
          <input value={text.value} placeholder="user:…" onInput={(event) => (text.value = event.currentTarget.value)} />
        </label>
        <Button type="submit" icon="search">{t("scope.show")}</Button>
      </form>
      {scope ? (
        <Part load={load} rows={3} subject={scope} empty={(data) => (data.trash.length ? null : <p class="muted">{t("scope.trash.empty")}</p>)}>
          {(data) => (
            <Table label={t("scope.trash")} head={[t("column.vfolder"), t("column.size"), t("column.deleted"), t("column.until"), t("column.act")]}
              rows={data.trash.map((one) => ({
                key: one.id,
                cells: [
                  <code>{one.vfolder}</code>, <Size bytes={one.size_bytes} />, <Time at={one.deleted_at} />, <Time at={one.expires_at} />,
                  <Button kind="quiet" icon="trash" disabled={Boolean(why) || !one.restorable} title={why} onClick={() => purge(one)}>{t("purge")}</Button>,
                ],
              }))} />
          )}
        </Part>
      ) : <p class="muted">{t("scope.trash.hint")}</p>}
    </Box>
  );
}

/** Trash backlog: what waits on each volume, and what is kept of one quota scope. */
import { useSignal } from "@preact/signals";
import { post } from "../lib/api";
import { duration, size } from "../lib/format";
import type { Job } from "../lib/jobs";
import { useLoad } from "../lib/load";
import { get } from "../lib/api";
import { go, path, place, setQuery } from "../lib/router";
import { Button, Size, Time } from "../ui/controls";
import { Part } from "../ui/parts";
import { askWhy, Box, Head, Table, usePolled, whyNot } from "./parts";
import { t } from "./text";
import type { Hidden } from "./types";

const BACKLOG_MS = 15_000;
interface Backlog {
  volumes: Array<{ volume: string; hidden: Hidden | null }>;
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
  return (
    <section class={`dashboard ${load.away ? "away" : ""}`}>
      <Head title={t("backlog")} of={load} />
      <p class="muted">{t("backlog.hint")}</p>
      <Part load={load}>
        {(data) => (
          <Table label={t("backlog")} head={[t("column.volume"), t("trash"), t("column.overdue"), t("staging"), t("column.overdue"), t("column.swept")]}
            rows={data.volumes.map((one) => ({
              key: one.volume,
              cells: [
                <a href={path(["op", "volumes", one.volume])}>{one.volume}</a>,
                <Size bytes={one.hidden?.trash_bytes} />, late(one.hidden?.trash_overdue_seconds),
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

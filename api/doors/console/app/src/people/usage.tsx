/** Usage: what each scope holds of its limit, and what the folders hold. Unknown is said, and never 0. */
import { useEffect } from "preact/hooks";
import { get, post } from "../lib/api";
import type { Job } from "../lib/jobs";
import { size } from "../lib/format";
import { useLoad } from "../lib/load";
import { can, me } from "../lib/session";
import { t } from "../texts";
import { Name, Progress, Size, Time } from "../ui/controls";
import { Grid } from "../ui/grid";
import { Empty, Notice, Part } from "../ui/parts";
import { toast, toastProblem } from "../ui/toast";
import { base, ended, folderChanged, listAll, reference, titleOf, useChanges, type VFolder } from "./vfolders";

interface Quota {
  volume: string;
  scope: string;
  limit_bytes: number | null;
  used_bytes: number | null;
  left_bytes: number | null;
  as_of: string | null;
}

export function Usage() {
  const load = useLoad("usage", async (signal) => {
    const page = await listAll({}, signal);
    return page.vfolders.sort((a, b) => (b.usage.used_bytes ?? -1) - (a.usage.used_bytes ?? -1));
  });
  useChanges(load);
  useEffect(() => {
    document.title = `${t("usage")} · vfolder`;
  }, []);
  return (
    <section class="whole">
      <h1>{t("usage")}</h1>
      {can("quotas") && <Quotas />}
      <h2>{t("usage.folders")}</h2>
      <Part load={load} empty={(rows) => (rows.length ? null : <Empty icon="usage" text={t("files.empty")} />)}>
        {(rows) => (
          <Grid label={t("usage.folders")} rows={rows} rowKey={reference} text={titleOf}
            columns={[
              { key: "name", title: t("column.name"), width: "minmax(0, 1fr)", cell: (row) => <Name text={titleOf(row)} /> },
              { key: "used", title: t("column.used"), width: "120px", end: true, cell: (row) => row.usage.used_bytes === null ? <span class="muted">{t("usage.unknown")}</span> : <Size bytes={row.usage.used_bytes} /> },
              { key: "entries", title: t("job.items"), width: "110px", end: true, from: 640, cell: (row) => (row.usage.entries === null ? "–" : t("count", { n: row.usage.entries })) },
              { key: "as-of", title: t("usage.counted.at"), width: "140px", from: 760, cell: (row) => <Time at={row.usage.as_of} /> },
            ]}
            detail={(row) => <Size bytes={row.usage.used_bytes} />}
            menu={(row) => [{ label: t("usage.count"), icon: "refresh", run: () => void count(row) }]} />
        )}
      </Part>
    </section>
  );
}

async function count(folder: VFolder): Promise<void> {
  try {
    const job = await ended(await post<Job>(`${base(folder)}/usage`));
    toast(t("usage.done", { name: titleOf(folder), size: size(Number(job.result?.used_bytes ?? NaN) || null) }));
    folderChanged();
  } catch (error) {
    toastProblem(error, titleOf(folder));
  }
}

function Quotas() {
  const load = useLoad("quotas", (signal) => get<{ quotas: Quota[]; complete: boolean }>("/v1/quotas", { signal }));
  const nameOf = (scope: string) => (scope.endsWith(me.value?.subject.id ?? "-") ? t("owner.me") : `${t("owner.group")} ${scope.slice(scope.indexOf(":") + 1, scope.indexOf(":") + 9)}`);
  return (
    <Part load={load} rows={2} empty={(data) => (data.quotas.length ? null : <p class="muted">{t("usage.no-limit")}</p>)}>
      {(data) => (
        <>
          {!data.complete && <Notice>{t("usage.away")}</Notice>}
          <ul class="items">
            {data.quotas.map((one) => (
              <li key={`${one.volume} ${one.scope}`} class="line">
                <div class="grow">
                  <strong>{nameOf(one.scope)}</strong> <span class="muted">{one.volume}</span>
                  {one.limit_bytes !== null && one.used_bytes !== null && <Progress label={t("usage.of", { name: one.volume })} value={(one.used_bytes / one.limit_bytes) * 100} />}
                </div>
                <span class="number">{one.used_bytes === null ? t("usage.unknown") : one.limit_bytes === null ? size(one.used_bytes) : t("used.of", { used: size(one.used_bytes), limit: size(one.limit_bytes) })}</span>
                <span class="muted">{one.as_of ? <>{t("usage.counted")} <Time at={one.as_of} /></> : ""}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </Part>
  );
}

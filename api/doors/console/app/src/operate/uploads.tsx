/** Uploads in flight: whose, where to, how far, and how long silent. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { get, post } from "../lib/api";
import { duration, rate, size, UNKNOWN } from "../lib/format";
import { t as common } from "../texts";
import { Button, Name, Progress } from "../ui/controls";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Part } from "../ui/parts";
import { toastProblem } from "../ui/toast";
import { askWhy, Head, usePolled, whyNot } from "./parts";
import { t } from "./text";
import type { UploadRow } from "./types";

const UPLOADS_MS = 5000;
interface Page {
  uploads: UploadRow[];
  next: string | null;
}

/** How fast each upload was between the last two looks (bytes per second). */
const rates = new Map<string, { offset: number; at: number; rate: number | null }>();
function rateOf(one: UploadRow): number | null {
  const known = rates.get(one.id);
  const at = performance.now();
  if (!known || known.offset !== one.offset) {
    const seconds = known ? (at - known.at) / 1000 : 0;
    rates.set(one.id, { offset: one.offset, at, rate: known && seconds > 1 ? (one.offset - known.offset) / seconds : known?.rate ?? null });
  }
  return one.is_written ? rates.get(one.id)!.rate : null;
}

const progressOf = (one: UploadRow) => t("of.size", { done: size(one.offset), total: size(one.length) });
const shareOf = (one: UploadRow) => (one.length ? (one.offset / one.length) * 100 : null);

const COLUMNS = (): Array<Column<UploadRow>> => [
  { key: "path", title: t("column.path"), width: "minmax(0, 1fr)", cell: (one) => <span class="entry"><Icon name="upload" class="kind" /><Name text={one.path ?? t("upload.part")} /></span> },
  { key: "subject", title: t("column.subject"), width: "140px", from: 860, cell: (one) => <span class="cut" title={one.subject ?? ""}>{one.subject ?? t("upload.ticket")}</span> },
  { key: "vfolder", title: t("column.vfolder"), width: "160px", from: 980, cell: (one) => <span class="cut" title={one.vfolder}>{one.vfolder}</span> },
  { key: "done", title: t("column.done"), width: "160px", from: 620, cell: (one) => progressOf(one) },
  { key: "bar", title: "", width: "100px", from: 760, cell: (one) => shareOf(one) === null ? null : <Progress value={shareOf(one)} label={t("upload.progress", { path: one.path ?? one.id })} /> },
  { key: "rate", title: t("job.rate"), width: "110px", end: true, from: 680, cell: (one) => rate(rateOf(one)) },
  { key: "idle", title: t("column.silent"), width: "110px", end: true, cell: (one) => (one.is_written ? t("upload.written") : duration(one.idle_seconds)) },
  { key: "node", title: t("column.node"), width: "90px", from: 1100, cell: (one) => one.node ?? UNKNOWN },
];

export function Uploads(_: { segments: string[] }) {
  const load = usePolled<Page>("/v1/uploads?limit=500", UPLOADS_MS, "uploads");
  const older = useSignal<Page | null>(null);
  const why = whyNot(load.away);
  const next = older.value ? older.value.next : load.data?.next ?? null;
  useEffect(() => () => rates.clear(), []);
  const known = new Set((load.data?.uploads ?? []).map((one) => one.id));
  const rows = [...(load.data?.uploads ?? []), ...(older.value?.uploads ?? []).filter((one) => !known.has(one.id))];
  useEffect(() => {
    const shown = new Set(rows.map((one) => one.id));
    for (const id of rates.keys()) if (!shown.has(id)) rates.delete(id);
  }, [load.data]);
  const more = async () => {
    const page = await get<Page>("/v1/uploads", { query: { limit: 500, cursor: next } });
    older.value = { uploads: [...(older.value?.uploads ?? []), ...page.uploads], next: page.next };
  };
  const end = (one: UploadRow) => askWhy({
    title: t("upload.end.title"),
    body: <><p><Name text={one.path ?? one.id} /> · {one.vfolder}</p><p>{t("upload.end.body", { size: size(one.offset) })}</p></>,
    back: t("upload.end.back"),
    confirm: t("upload.end"),
    danger: true,
    run: async (reason) => {
      await post(`/v1/uploads/${one.id}/end`, { reason });
      older.value = null;
      load.reload();
    },
    done: t("upload.end.done"),
  });
  return (
    <section class={`whole ${load.away ? "away" : ""}`}>
      <Head title={t("uploads")} of={load} />
      <p class="muted">{t("uploads.hint")}</p>
      <Part load={load} empty={() => (rows.length ? null : <Empty icon="upload" text={t("uploads.empty")} />)}>
        {() => (
          <Grid label={t("uploads")} waits="uploads" rows={rows} rowKey={(one) => one.id} text={(one) => one.path ?? one.id} columns={COLUMNS()} total={next ? null : rows.length}
            detail={(one) => `${progressOf(one)} · ${one.subject ?? t("upload.ticket")}`}
            menu={(one) => [{ label: t("upload.end"), icon: "close", danger: true, disabled: Boolean(why), why, run: () => end(one) }]} />
        )}
      </Part>
      {next && <div class="acts"><Button onClick={() => void more().catch((error) => toastProblem(error))}>{common("more.older")}</Button></div>}
    </section>
  );
}

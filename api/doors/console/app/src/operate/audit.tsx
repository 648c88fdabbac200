/** The audit log: who did what to what, allowed or refused, with what was before and after. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { get } from "../lib/api";
import { exactMoment } from "../lib/format";
import { follow } from "../lib/live";
import { useLoad } from "../lib/load";
import { go, path, place, setQuery } from "../lib/router";
import { t as common } from "../texts";
import { Button, Choice, State, Time } from "../ui/controls";
import { Dialog, openDialog } from "../ui/dialog";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Part } from "../ui/parts";
import { toastProblem } from "../ui/toast";
import { Head } from "./parts";
import { t, type TextKey } from "./text";
import type { AuditLine } from "./types";

const PAGE = 500;
const FILTERS = ["subject", "act", "target", "vfolder", "job_id"] as const;
interface Page {
  lines: AuditLine[];
  next: string | null;
}
interface Row extends AuditLine {
  number: number;
}

const objectOf = (one: AuditLine) => one.target ?? (one.vfolder ? one.path ? `${one.vfolder} · ${one.path}` : one.vfolder : one.job_id ?? "–");

function Decision({ line }: { line: AuditLine }) {
  return <State kind={line.decision === "allowed" ? "ok" : "warn"}>{t(`audit.${line.decision}`)}</State>;
}

const COLUMNS = (): Array<Column<Row>> => [
  { key: "act", title: t("column.act"), width: "minmax(140px, 1fr)", cell: (one) => <span class="entry"><Icon name="log" class="kind" /><span class="name">{one.act}</span></span> },
  { key: "decision", title: t("column.decision"), width: "110px", cell: (one) => <Decision line={one} /> },
  { key: "object", title: t("column.object"), width: "minmax(0, 2fr)", from: 620, cell: (one) => <span class="cut" title={objectOf(one)}>{objectOf(one)}</span> },
  { key: "subject", title: t("column.subject"), width: "minmax(0, 1fr)", from: 860, cell: (one) => <span class="cut" title={one.subject ?? ""}>{one.on_behalf_of ?? one.subject ?? "–"}</span> },
  { key: "reason", title: t("column.reason"), width: "minmax(0, 1fr)", from: 1000, cell: (one) => <span class="cut" title={one.reason ?? ""}>{one.reason ?? ""}</span> },
  { key: "at", title: t("column.at"), width: "120px", end: true, cell: (one) => <Time at={one.at} /> },
];

export function Audit(_: { segments: string[] }) {
  const { query } = place.value;
  const given = { decision: query.decision ?? null, ...Object.fromEntries(FILTERS.map((name) => [name, query[name] ?? null])) };
  const key = JSON.stringify(given);
  const load = useLoad(key, (signal) => get<Page>("/v1/audit", { query: { limit: PAGE, ...given }, signal }));
  const older = useSignal<{ of: string; lines: AuditLine[]; next: string | null }>({ of: "", lines: [], next: null });
  const more = older.value.of === key ? older.value : null;
  const next = more ? more.next : load.data?.next ?? null;
  const rows = [...(load.data?.lines ?? []), ...(more?.lines ?? [])].map((one, number) => ({ ...one, number }));
  const show = async () => {
    const page = await get<Page>("/v1/audit", { query: { limit: PAGE, cursor: next, ...given } });
    older.value = { of: key, lines: [...(more?.lines ?? []), ...page.lines], next: page.next };
  };
  const filtered = Object.values(given).some(Boolean);
  // Lines are read, so they do not move by themselves: the page says that there are newer ones.
  const isBehind = useSignal(false);
  useEffect(() => follow("audit", () => (isBehind.value = true)), []);
  useEffect(() => { if (load.pending) isBehind.value = false; }, [load.pending]);
  return (
    <section class="whole">
      <Head title={t("audit")}>
        <span role="status">{isBehind.value && <State kind="warn">{t("audit.behind")}</State>}</span>
        <Button icon="refresh" onClick={() => { older.value = { of: "", lines: [], next: null }; load.reload(); }}>{common("refresh")}</Button>
        <Button icon="download" disabled={!rows.length} onClick={() => save(rows)}>{t("audit.export", { n: rows.length })}</Button>
      </Head>
      <div class="filters" role="search" aria-label={t("filters")}>
        <Choice label={t("column.decision")} value={query.decision ?? ""} onChange={(decision) => setQuery({ decision: decision || null })}
          options={[["", t("any")], ["allowed", t("audit.allowed")], ["refused", t("audit.refused")]]} />
        {FILTERS.map((name) => (
          <label class="inline" key={name}>
            <span>{t(`column.${name}` as TextKey)}</span>
            <input value={query[name] ?? ""} onChange={(event) => setQuery({ [name]: event.currentTarget.value.trim() || null })} />
          </label>
        ))}
        {filtered && <Button kind="quiet" icon="close" onClick={() => go(path(["op", "audit"]))}>{common("filter.clear")}</Button>}
      </div>
      <Part load={load} empty={() => (rows.length ? null : <Empty icon="log" text={t(filtered ? "audit.none" : "audit.empty")} />)}>
        {() => (
          <Grid label={t("audit")} rows={rows} rowKey={(one) => `${one.number}`} text={(one) => one.act} columns={COLUMNS()} total={next ? null : rows.length}
            detail={(one) => <><Decision line={one} /> · {objectOf(one)}</>} onOpen={open}
            menu={(one) => [
              { label: t("audit.open"), icon: "eye", run: () => open(one) },
              one.subject !== undefined && { label: t("audit.same-subject"), icon: "user", run: () => setQuery({ subject: one.subject! }) },
              { label: t("audit.same-act"), icon: "search", run: () => setQuery({ act: one.act }) },
            ]} />
        )}
      </Part>
      {next && <div class="acts"><Button onClick={() => void show().catch((error) => toastProblem(error))}>{common("more.older")}</Button></div>}
    </section>
  );
}

function open(line: Row): void {
  const { number: _, ...shown } = line;
  openDialog((close) => (
    <Dialog title={line.act} onClose={close} wide>
      <div class="body">
        <dl class="facts">
          {Object.entries(shown).map(([name, value]) => (
            <div key={name}><dt>{name}</dt><dd>{name === "at" ? exactMoment(String(value)) : typeof value === "string" ? value : <code>{JSON.stringify(value)}</code>}</dd></div>
          ))}
        </dl>
      </div>
    </Dialog>
  ));
}

/** Give what is on the page as lines of JSON, as the log's files have them. */
function save(rows: Row[]): void {
  const text = rows.map(({ number: _, ...line }) => JSON.stringify(line)).join("\n");
  const url = URL.createObjectURL(new Blob([text, "\n"], { type: "application/jsonl" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: "audit.jsonl" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

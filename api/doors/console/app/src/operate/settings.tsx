/** Settings: the effective values of the node that answers, where each comes from, what waits, and what differs elsewhere. */
import { useSignal } from "@preact/signals";
import { get } from "../lib/api";
import { UNKNOWN } from "../lib/format";
import { useLoad } from "../lib/load";
import { t as common } from "../texts";
import { Button, State } from "../ui/controls";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Notice, Part, copyText } from "../ui/parts";
import { toast } from "../ui/toast";
import { askOther, differing, type Values } from "./comparison";
import { Head } from "./parts";
import { t } from "./text";
import type { Setting } from "./types";

const sourceOf = (one: Setting) => one.source === "file" ? t("source.file") : one.source === "default" ? t("source.default") : one.source;

const otherColumn = (other: Values): Column<Setting> => ({
  key: "other", title: t("column.other"), width: "minmax(0, 1fr)", from: 560,
  cell: (one) => { const value = other.get(one.key) ?? UNKNOWN; return <span class="cut mono" title={value}>{value}</span>; },
});
const COLUMNS = (): Array<Column<Setting>> => [
  { key: "key", title: t("column.key"), width: "minmax(0, 1fr)", cell: (one) => <span class="entry"><Icon name="settings" class="kind" /><span class="name mono">{one.key}</span></span> },
  { key: "value", title: t("column.value"), width: "minmax(0, 1fr)", from: 560, cell: (one) => <span class="cut mono" title={one.value}>{one.value || UNKNOWN}</span> },
  { key: "source", title: t("column.source"), width: "200px", from: 760, cell: (one) => one.waits ? <State kind="warn">{t("source.waits")}</State> : <span class="cut" title={one.source}>{sourceOf(one)}</span> },
];

export function Settings(_: { segments: string[] }) {
  const load = useLoad("settings", (signal) => get<{ node: string; settings: Setting[] }>("/v1/settings", { signal }));
  const filter = useSignal("");
  const changed = useSignal(false);
  const other = useSignal<Values | null>(null);
  const settings = load.data?.settings ?? [];
  const compared = other.value ? differing(settings, other.value) : settings;
  const columns = other.value ? [...COLUMNS().slice(0, 2), otherColumn(other.value)] : COLUMNS();
  const wanted = filter.value.toLowerCase();
  const rows = compared.filter((one) => (!changed.value || one.source !== "default") && `${one.key} ${one.value} ${other.value?.get(one.key) ?? ""}`.toLowerCase().includes(wanted));
  const waits = settings.filter((one) => one.waits).length;
  const text = () => rows.map((one) => `${one.key} = ${one.value}`).join("\n");
  return (
    <section class="whole">
      <Head title={t("settings")}>
        <Button aria-pressed={changed.value} onClick={() => (changed.value = !changed.value)}>{t("settings.changed")}</Button>
        <Button icon="copy" disabled={!rows.length} onClick={() => void copyText(text()).then(() => toast(common("copied")))}>{t("settings.copy")}</Button>
        <Button onClick={() => askOther((values) => (other.value = values))}>{t("compare")}</Button>
        <Button icon="refresh" onClick={load.reload}>{common("refresh")}</Button>
      </Head>
      {load.data && <p class="muted">{t("settings.node", { node: load.data.node })}</p>}
      {waits > 0 && <Notice kind="warn"><p>{t("settings.waits", { n: waits })}</p></Notice>}
      {other.value && (
        <div class="bar">
          <p role="status">{t("compare.found", { n: compared.length })}</p>
          <Button kind="quiet" icon="close" onClick={() => (other.value = null)}>{t("compare.end")}</Button>
        </div>
      )}
      <div class="filters">
        <label class="inline wide"><span>{common("filter")}</span><input value={filter.value} onInput={(event) => (filter.value = event.currentTarget.value)} /></label>
      </div>
      <Part load={load} rows={12} empty={() => (rows.length ? null : <Empty icon="settings" text={t(other.value && !compared.length ? "compare.same" : "settings.none")} />)}>
        {() => (
          <Grid label={t("settings")} rows={rows} rowKey={(one) => one.key} text={(one) => one.key} columns={columns}
            detail={(one) => other.value ? `${one.value || UNKNOWN} · ${other.value.get(one.key) ?? UNKNOWN}` : `${one.value} · ${sourceOf(one)}`}
            menu={(one) => [{ label: t("settings.copy.one"), icon: "copy", run: () => void copyText(`${one.key} = ${one.value}`).then(() => toast(common("copied"))) }]} />
        )}
      </Part>
    </section>
  );
}

/** Quota: scopes near or over their limits, one scope by name, and its limit with what that does. */
import { useSignal } from "@preact/signals";
import { call, get } from "../lib/api";
import { size, UNKNOWN } from "../lib/format";
import { useLoad } from "../lib/load";
import { go, path, place, setQuery } from "../lib/router";
import { Button, Field, Size, Time } from "../ui/controls";
import { FormDialog, openDialog } from "../ui/dialog";
import { Empty, Notice, Part } from "../ui/parts";
import { toast } from "../ui/toast";
import { adopt, rescan } from "./acts";
import { Box, Head, Share, Table, usePolled, whyNot } from "./parts";
import { t } from "./text";

const ALERTS_MS = 15_000;
const GIB = 1024 ** 3;

interface Alert {
  volume: string | null;
  scope_id: string | null;
  vfolder: string | null;
  percent: number;
  used_bytes: number | null;
  limit_bytes: number | null;
  as_of: string | null;
  enforced: string | null;
}
interface Alerts {
  alerts: Alert[];
  total: number;
  complete: boolean;
}
interface View {
  view: "scope" | "total";
  /** Null: over all volumes. */
  volume: string | null;
  scope: string;
  limit_bytes: number | null;
  used_bytes: number | null;
  left_bytes: number | null;
  as_of: string | null;
  enforced: string | null;
}

/** A limit over all volumes that is not set. */
const NO_TOTAL: Omit<View, "scope"> = { view: "total", volume: null, limit_bytes: null, used_bytes: null, left_bytes: null, as_of: null, enforced: null };

const nameOf = (one: Alert) => one.vfolder ? `${one.scope_id ?? "."} / ${one.vfolder}` : one.scope_id ?? ".";
const fillOf = (one: { used_bytes: number | null; limit_bytes: number | null }, name: string) => (
  <Share used={one.used_bytes} size={one.limit_bytes} label={t("used.label", { name })}
    text={one.limit_bytes === null && one.used_bytes === null ? UNKNOWN : t("used.of", { used: size(one.used_bytes), size: one.limit_bytes === null ? t("bandwidth.none") : size(one.limit_bytes) })} />
);

export function Quota(_: { segments: string[] }) {
  const load = usePolled<Alerts>("/v1/quota-alerts", ALERTS_MS, "quota");
  return (
    <section class={`dashboard ${load.away ? "away" : ""}`}>
      <Head title={t("quota")} of={load} />
      <OneScope away={load.away} done={() => load.reload()} />
      <Box title={t("quota.near")}>
        <Part load={load} empty={(data) => (data.alerts.length ? null : <Empty icon="usage" text={t("quota.near.empty")} />)}>
          {(data) => (
            <>
              {!data.complete && <Notice kind="warn"><p>{t("quota.incomplete")}</p></Notice>}
              <Table label={t("quota.near")} head={[t("column.scope"), t("column.volume"), t("column.reached"), t("column.used"), t("column.counted"), t("column.enforced")]}
                rows={data.alerts.map((one) => ({
                  key: `${one.volume} ${nameOf(one)}`,
                  cells: [
                    one.scope_id && !one.vfolder ? <a href={path(["op", "quota"], { scope: `user:${one.scope_id}` })}>{nameOf(one)}</a> : nameOf(one),
                    one.volume === null ? t("quota.all-volumes") : <a href={path(["op", "volumes", one.volume])}>{one.volume}</a>,
                    <span class={one.percent >= 95 ? "wrong" : ""}>{t("percent", { n: one.percent })}</span>,
                    fillOf(one, nameOf(one)), <Time at={one.as_of} />, one.enforced ?? UNKNOWN,
                  ],
                }))} />
              {data.total > data.alerts.length && <p class="muted">{t("more", { n: data.total - data.alerts.length })}</p>}
            </>
          )}
        </Part>
      </Box>
    </section>
  );
}

function OneScope({ away, done }: { away: boolean; done: () => void }) {
  const scope = place.value.query.scope ?? "";
  const text = useSignal(scope);
  const at = `/v1/quotas/${encodeURIComponent(scope)}`;
  const load = useLoad(scope ? at : null, (signal) => get<{ quotas: View[]; complete: boolean }>(at, { signal }));
  const why = whyNot(away);
  const off = { disabled: Boolean(why), title: why };
  const changed = () => { load.reload(); done(); };
  return (
    <Box title={t("quota.one")}>
      <form class="filters" onSubmit={(event) => { event.preventDefault(); setQuery({ scope: text.value.trim() || null }); }}>
        <label class="inline wide"><span>{t("column.scope")}</span>
          <input value={text.value} placeholder="user:… group:…" onInput={(event) => (text.value = event.currentTarget.value)} />
        </label>
        <Button type="submit" icon="search">{t("quota.show")}</Button>
      </form>
      {scope ? (
        <Part load={load} rows={2} subject={scope} empty={(data) => (data.quotas.length ? null : <p class="muted">{t("quota.one.empty")}</p>)}>
          {(data) => (
            <Table label={scope} head={[t("column.volume"), t("column.used"), t("column.left"), t("column.counted"), t("column.enforced"), t("column.act")]}
              rows={data.quotas.map((one) => ({
                key: one.volume ?? "",
                cells: [
                  one.volume ?? t("quota.all-volumes"), fillOf(one, one.scope), <Size bytes={one.left_bytes} />, <Time at={one.as_of} />, one.enforced ?? UNKNOWN,
                  <span class="acts">
                    <Button kind="quiet" icon="rename" {...off} onClick={() => openDialog((close) => <NewLimit view={one} close={close} done={changed} />)}>{t("quota.set")}</Button>
                    {one.volume !== null && one.limit_bytes !== null && one.enforced !== "soft" && <Button kind="quiet" icon="repair" {...off} onClick={() => adopt(one.volume!, one.scope, one.limit_bytes!, (job) => go(path(["op", "jobs", job.id])))}>{t("adopt")}</Button>}
                    {one.volume !== null && <Button kind="quiet" icon="refresh" {...off} onClick={() => rescan(one.volume!, (job) => go(path(["op", "jobs", job.id])), one.scope)}>{t("quota.recount")}</Button>}
                  </span>,
                ],
              }))} />
          )}
        </Part>
      ) : <p class="muted">{t("quota.one.hint")}</p>}
      {load.data && !load.data.quotas.some((one) => one.view === "total") && (
        <div class="acts">
          <Button {...off} onClick={() => openDialog((close) => <NewLimit view={{ ...NO_TOTAL, scope }} close={close} done={changed} />)}>{t("quota.set.total")}</Button>
        </div>
      )}
    </Box>
  );
}

/** Set the limit of a scope; says what people can still write then. */
function NewLimit({ view, close, done }: { view: View; close: () => void; done: () => void }) {
  const text = useSignal(view.limit_bytes === null ? "" : String(Number((view.limit_bytes / GIB).toPrecision(4))));
  const gib = text.value.trim() === "" ? null : Number(text.value.replace(",", "."));
  const reason = useSignal("");
  const wrong = gib !== null && !(gib > 0);
  const bytes = gib === null || wrong ? null : Math.max(1, Math.round(gib * GIB));
  const left = bytes === null || view.used_bytes === null ? null : bytes - view.used_bytes;
  return (
    <FormDialog title={t("quota.set.title", { name: view.scope })} confirm={bytes === null ? t("quota.lift") : t("quota.set")} onClose={close} disabled={wrong}
      danger={left !== null && left <= 0}
      onConfirm={async () => {
        await call("PUT", `/v1/quotas/${encodeURIComponent(view.scope)}`, { body: { limit_bytes: bytes, ...(view.view === "total" ? { view: "total" } : { volume: view.volume }), ...(reason.value.trim() ? { reason: reason.value.trim() } : {}) } });
        toast(t("quota.set.done"));
        done();
      }}>
      <Field label={t("quota.new")} hint={t("quota.new.hint")} error={wrong ? t("quota.new.wrong") : undefined}>
        {(ids) => <input {...ids} inputMode="decimal" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />}
      </Field>
      <Field label={t("reason.optional")} hint={t("reason.hint")}>
        {(ids) => <input {...ids} maxLength={500} autocomplete="off" value={reason.value} onInput={(event) => (reason.value = event.currentTarget.value)} />}
      </Field>
      <p role="status">
        {bytes === null ? t("quota.effect.none", { used: size(view.used_bytes) })
          : left === null ? t("quota.effect.unknown")
          : left > 0 ? t("quota.effect", { used: size(view.used_bytes), limit: size(bytes), left: size(left) })
          : t("quota.effect.full", { used: size(view.used_bytes), limit: size(bytes) })}
      </p>
    </FormDialog>
  );
}


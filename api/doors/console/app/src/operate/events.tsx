/** The events that the manager reads, and what is not published yet. */
import { useSignal } from "@preact/signals";
import { number } from "../lib/format";
import { t as common } from "../texts";
import { Button, Field, Time } from "../ui/controls";
import { Empty, Notice, Part } from "../ui/parts";
import { copyText } from "../ui/parts";
import { toast } from "../ui/toast";
import { Head, Table, usePolled } from "./parts";
import { t } from "./text";

const EVENTS_MS = 5000;
interface Event {
  id: string;
  at: string | null;
  name: string;
  source: string;
  payload: unknown;
}
interface Feed {
  events: Event[];
  unpublished: number;
}

export function Events(_: { segments: string[] }) {
  const follow = useSignal(true);
  const load = usePolled<Feed>("/v1/published-events", follow.value ? EVENTS_MS : 3_600_000, follow.value ? "events" : "");
  const filter = useSignal("");
  const wanted = filter.value.toLowerCase();
  const rows = (load.data?.events ?? []).filter((one) => `${one.name} ${one.source} ${JSON.stringify(one.payload)}`.toLowerCase().includes(wanted));
  return (
    <section class={`dashboard ${load.away ? "away" : ""}`}>
      <Head title={t("events")} of={load}>
        <Button aria-pressed={follow.value} icon={follow.value ? "pause" : "play"} onClick={() => (follow.value = !follow.value)}>{t("events.follow")}</Button>
        <Button icon="copy" disabled={!rows.length} onClick={() => void copyText(rows.map((one) => JSON.stringify(one)).join("\n")).then(() => toast(common("copied")))}>{t("events.copy")}</Button>
      </Head>
      <p class="muted">{t("events.hint")}</p>
      <Part load={load} empty={(data) => (data.events.length || data.unpublished ? null : <Empty icon="log" text={t("events.empty")} />)}>
        {(data) => (
          <>
            {data.unpublished > 0 && <Notice kind="warn"><p>{t("events.unpublished", { n: data.unpublished })}</p></Notice>}
            <Field label={common("filter")}>
              {(ids) => <input {...ids} value={filter.value} onInput={(event) => (filter.value = event.currentTarget.value)} />}
            </Field>
            <p class="muted" role="status">{t("events.shown", { n: rows.length, all: number(data.events.length) })}</p>
            <Table label={t("events")} head={[t("column.event"), t("column.at"), t("column.source"), t("column.payload")]}
              rows={rows.map((one) => ({ key: one.id, cells: [one.name, <Time at={one.at} />, one.source, <code class="payload">{JSON.stringify(one.payload)}</code>] }))} />
          </>
        )}
      </Part>
    </section>
  );
}

/** The examination of a volume: each check, what it found, and what to change. It changes nothing. */
import { useSignal } from "@preact/signals";
import { post } from "../lib/api";
import { duration, UNKNOWN } from "../lib/format";
import { useLoad } from "../lib/load";
import { Button, State, Time } from "../ui/controls";
import { Part } from "../ui/parts";
import { Box, Table } from "./parts";
import { t, type TextKey } from "./text";

interface Check {
  check: string;
  status: "ok" | "not available" | "wrong";
  text: string;
  change: string | null;
  seconds: number;
}
interface Examination {
  node: string;
  at: string;
  ok: boolean;
  checks: Check[];
}

const KINDS = { ok: "ok", "not available": "idle", wrong: "bad" } as const;

export function Doctor({ volume }: { volume: string }) {
  const turn = useSignal(0);
  const load = useLoad(turn.value ? `doctor ${volume} ${turn.value}` : null, (signal) =>
    post<Examination>(`/v1/volumes/${encodeURIComponent(volume)}/doctor`, undefined, { signal }));
  return (
    <Box title={t("doctor")} aside={<Button icon="search" disabled={turn.value > 0 && load.pending} onClick={() => turn.value++}>{t("doctor.run")}</Button>}>
      {turn.value === 0 ? <p class="muted">{t("doctor.hint")}</p> : (
        <Part load={load} rows={4} subject={volume} empty={(data) => (data.checks.length ? null : <p class="muted">{t("doctor.empty")}</p>)}>
          {(data) => (
            <>
              <p><State kind={data.ok ? "ok" : "bad"}>{t(data.ok ? "doctor.ok" : "doctor.wrong")}</State>
                <span class="muted"> · {t("doctor.by", { node: data.node })} · <Time at={data.at} /></span></p>
              <Table label={t("doctor")} head={[t("doctor.check"), t("column.state"), t("doctor.found"), t("doctor.change"), t("column.time")]}
                rows={data.checks.map((one) => ({
                  key: one.check,
                  cells: [
                    one.check, <State kind={KINDS[one.status]}>{t(`doctor.is.${one.status.replace(" ", "-")}` as TextKey)}</State>, one.text,
                    one.change ?? UNKNOWN, one.seconds < 1 ? t("milliseconds", { n: Math.round(one.seconds * 1000) }) : duration(one.seconds),
                  ],
                }))} />
            </>
          )}
        </Part>
      )}
    </Box>
  );
}

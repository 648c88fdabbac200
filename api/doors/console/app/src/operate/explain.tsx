/** What a user can do on a folder, and why: the steps of the decision, in words. */
import { useSignal } from "@preact/signals";
import { post } from "../lib/api";
import { exactMoment } from "../lib/format";
import { useLoad } from "../lib/load";
import { place, setQuery } from "../lib/router";
import { t as common, type TextKey as CommonKey } from "../texts";
import { Button, Choice, State } from "../ui/controls";
import { Part } from "../ui/parts";
import { Box } from "./parts";
import { t, type TextKey } from "./text";

const ACTS = [
  "entries.read", "entries.write", "entries.replace", "entries.remove", "entries.purge", "vfolders.read", "vfolders.update",
  "vfolders.delete", "vfolders.restore", "vfolders.purge", "grants.read", "grants.manage", "links.manage", "owner.offer",
  "snapshots.read", "snapshots.create", "snapshots.manage", "jobs.usage", "jobs.find", "jobs.delete-files", "audit.vfolder",
];

interface Step {
  step: string;
  counts: boolean;
  gives: string | null;
  detail: string | null;
}
interface Decision {
  allowed: boolean;
  permission: string;
  needed: string;
  reason: string;
  decider: string;
  expires_at: string | null;
  steps: Step[];
}

/** The user, the folder and the act are in the address: a question can be sent to others. */
export function Explain({ user }: { user: string }) {
  const { folder = "", act = ACTS[0]! } = place.value.query;
  const text = useSignal(folder);
  const body = { subject: `user:${user}`, act, vfolder: folder };
  const load = useLoad(folder ? JSON.stringify(body) : null, (signal) => post<Decision>("/v1/access/explain", body, { signal }));
  return (
    <Box title={t("explain")}>
      <form class="filters" onSubmit={(event) => { event.preventDefault(); setQuery({ folder: text.value.trim() || null }); }}>
        <label class="inline wide"><span>{t("explain.folder")}</span>
          <input value={text.value} placeholder="VOLUME:ID" onInput={(event) => (text.value = event.currentTarget.value)} />
        </label>
        <Choice label={t("explain.act")} value={act} onChange={(chosen) => setQuery({ act: chosen })}
          options={ACTS.map((one) => [one, t(`explain.act.${one}` as TextKey)] as [string, string])} />
        <Button type="submit" icon="search">{t("explain.show")}</Button>
      </form>
      {folder ? <Part load={load} rows={4} subject={folder}>{(found) => <Answer found={found} />}</Part> : <p class="muted">{t("explain.hint")}</p>}
    </Box>
  );
}

function Answer({ found }: { found: Decision }) {
  return (
    <>
      <p class="health">
        <State kind={found.allowed ? "ok" : "bad"}>{t(found.allowed ? "explain.yes" : "explain.no")}</State>
        {" · "}{t("explain.has", { permission: permissionOf(found.permission), needed: permissionOf(found.needed) })}
        {found.expires_at && <> · {t("explain.until", { at: exactMoment(found.expires_at) })}</>}
      </p>
      {!found.allowed && <p>{t(`explain.reason.${found.reason}` as TextKey)}</p>}
      <ol class="steps" aria-label={t("explain.steps")}>
        {found.steps.map((one, index) => <li key={index} class={one.counts ? "" : "muted"}>{sentenceOf(one)}</li>)}
      </ol>
      {found.decider === "fallback" && <p class="muted">{t("explain.fallback")}</p>}
      <p class="muted">{t("explain.note")}</p>
    </>
  );
}

const permissionOf = (word: string) => word === "none" ? t("explain.nothing") : common(`permission.${word}` as CommonKey);

const KINDS: Record<string, string> = {
  vfolder: "vfolder", subject: "subject", owner: "owner", group: "group", callout: "callout", permission: "permission",
  "end of the vfolder": "end", credential: "credential", needed: "needed",
};

/** A step of the server as a sentence; one that this page does not know is shown as it came. */
function sentenceOf(one: Step): string {
  const kind = one.step.startsWith("grant ") ? "grant" : KINDS[one.step];
  const values = { detail: one.detail ?? "", gives: one.gives ? permissionOf(one.gives) : "" };
  if (!kind) return [one.step, one.gives, one.detail].filter(Boolean).join(" · ");
  if (kind === "owner" || kind === "group" || kind === "grant") return t(`explain.step.${kind}.${one.counts ? "counts" : "not"}`, values);
  if (kind === "permission" && !one.detail) return t("explain.step.permission.none");
  return t(`explain.step.${kind}` as TextKey, values);
}

/** Diagnostics: a bundle for a report of a defect; each part can be left out, and no secret is in it. */
import { useSignal } from "@preact/signals";
import { asProblem, type Problem, problemOf } from "../lib/api";
import { size } from "../lib/format";
import { Button } from "../ui/controls";
import { Notice, ProblemNotice } from "../ui/parts";
import { toast } from "../ui/toast";
import { Head } from "./parts";
import { t, type TextKey } from "./text";

const PARTS = ["versions", "settings", "health", "metrics", "nodes", "volumes", "jobs"];

export function Diagnostics(_: { segments: string[] }) {
  const chosen = useSignal<ReadonlySet<string>>(new Set(PARTS));
  const names = useSignal(false);
  const busy = useSignal(false);
  const problem = useSignal<Problem | null>(null);
  const toggle = (part: string) => {
    const next = new Set(chosen.value);
    if (!next.delete(part)) next.add(part);
    chosen.value = next;
  };
  const make = async () => {
    busy.value = true;
    problem.value = null;
    try {
      const found = await bundle([...chosen.value], names.value);
      toast(t("diagnostics.done", { size: size(found) }));
    } catch (error) {
      problem.value = asProblem(error);
    } finally {
      busy.value = false;
    }
  };
  return (
    <section class="column">
      <Head title={t("diagnostics")} />
      <p>{t("diagnostics.hint")}</p>
      <form class="column" onSubmit={(event) => { event.preventDefault(); if (!busy.value) void make(); }}>
        <fieldset>
          <legend>{t("diagnostics.parts")}</legend>
          {PARTS.map((part) => (
            <label class="tick" key={part}>
              <input type="checkbox" checked={chosen.value.has(part)} onChange={() => toggle(part)} />
              <span>{t(`part.${part}` as TextKey)}</span>
            </label>
          ))}
        </fieldset>
        <fieldset>
          <legend>{t("diagnostics.names")}</legend>
          <label class="tick">
            <input type="checkbox" checked={names.value} onChange={(event) => (names.value = event.currentTarget.checked)} />
            <span>{t("diagnostics.names.show")}</span>
          </label>
          {names.value && <Notice kind="warn"><p>{t("diagnostics.names.warn")}</p></Notice>}
        </fieldset>
        {problem.value && <ProblemNotice problem={problem.value} />}
        <div class="acts">
          <Button type="submit" kind="main" icon="download" disabled={!chosen.value.size} aria-busy={busy.value}>{t("diagnostics.make")}</Button>
        </div>
      </form>
      <p class="muted">{t("diagnostics.logs")}</p>
    </section>
  );
}

/** Make the bundle and give it to the browser; returns its size. */
async function bundle(parts: string[], names: boolean): Promise<number> {
  const response = await fetch("/v1/diagnostics", {
    method: "POST",
    credentials: "same-origin",
    headers: { "X-VFolder": "1", "Content-Type": "application/json" },
    body: JSON.stringify({ parts, names }),
  });
  if (!response.ok) throw await problemOf(response);
  const content = await response.blob();
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "vfolder-diagnostics.zip";
  const url = URL.createObjectURL(content);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  return content.size;
}

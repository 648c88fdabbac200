/** Filters of the list of jobs that an operator keeps by a name, in this browser. Each is an address. */
import { signal, useSignal } from "@preact/signals";
import { path, place } from "../lib/router";
import { t as common } from "../texts";
import { Button, Field, IconButton } from "../ui/controls";
import { FormDialog, openDialog } from "../ui/dialog";
import { toast } from "../ui/toast";
import { t } from "./text";

const KEY = "vfolder.job-filters";
/** The most that are kept, and the longest name (characters). */
const MOST = 20;
const NAME_MAX = 60;

interface Saved {
  name: string;
  query: Record<string, string>;
}

const isText = (one: unknown): one is string => typeof one === "string";
const isSaved = (one: unknown): one is Saved => {
  const { name, query } = (one ?? {}) as Partial<Saved>;
  return isText(name) && typeof query === "object" && query !== null && Object.values(query).every(isText);
};

/** What the browser has; another version of the console may have written it. */
function kept(): Saved[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter(isSaved).slice(0, MOST) : [];
  } catch {
    return [];
  }
}

const saved = signal<Saved[]>(kept());
addEventListener("storage", (event) => {
  if (event.key === KEY) saved.value = kept();
});

/** Keep the list; false where the browser keeps nothing. */
function keep(filters: Saved[]): boolean {
  saved.value = filters;
  try {
    localStorage.setItem(KEY, JSON.stringify(filters));
    return true;
  } catch {
    return false;
  }
}

const sameQuery = (one: Record<string, string>, other: Record<string, string>) => {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
};

export function SavedFilters() {
  const { query } = place.value;
  const isKept = saved.value.some((one) => sameQuery(one.query, query));
  return (
    <>
      {saved.value.length > 0 && (
        <ul class="chips saved" aria-label={t("saved")}>
          {saved.value.map((one) => (
            <li key={one.name}>
              <a href={path(["op", "jobs"], one.query)} aria-current={sameQuery(one.query, query) ? "page" : undefined}>{one.name}</a>
              <IconButton icon="close" label={t("saved.remove", { name: one.name })} onClick={() => remove(one)} />
            </li>
          ))}
        </ul>
      )}
      {Object.keys(query).length > 0 && !isKept && (
        <Button kind="quiet" icon="plus" disabled={saved.value.length >= MOST} title={saved.value.length >= MOST ? t("saved.full", { n: MOST }) : undefined}
          onClick={() => openDialog((close) => <SaveDialog query={query} close={close} />)}>{t("saved.save")}</Button>
      )}
    </>
  );
}

function remove(one: Saved): void {
  const before = saved.value;
  keep(before.filter((other) => other.name !== one.name));
  toast(t("saved.removed", { name: one.name }), { act: { label: common("undo"), run: () => { keep(before); } } });
}

function SaveDialog({ query, close }: { query: Record<string, string>; close: () => void }) {
  const text = useSignal("");
  const name = text.value.trim();
  const others = saved.value.filter((one) => one.name !== name);
  return (
    <FormDialog title={t("saved.save")} confirm={t(others.length < saved.value.length ? "saved.replace" : "saved.save")} disabled={!name} onClose={close}
      onConfirm={async () => { toast(t(keep([...others, { name, query }]) ? "saved.done" : "saved.not-kept", { name })); }}>
      <p><code>{Object.entries(query).map((pair) => pair.join("=")).join(" ")}</code></p>
      <Field label={t("column.name")} hint={t("saved.hint")}>
        {(ids) => <input {...ids} value={text.value} maxLength={NAME_MAX} required onInput={(event) => (text.value = event.currentTarget.value)} />}
      </Field>
    </FormDialog>
  );
}

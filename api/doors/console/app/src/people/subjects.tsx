/** The field that finds a user or a group by name or id. */
import { useSignal } from "@preact/signals";
import { useEffect, useId } from "preact/hooks";
import { get } from "../lib/api";
import { t, type TextKey } from "../texts";
import { Field } from "../ui/controls";

export interface Subject {
  kind: "user" | "group";
  id: string;
  name: string | null;
}

const ID = /^(user|group):[0-9a-f-]{36}$/;
const TYPING_MS = 250;

export const wordOf = (one: Pick<Subject, "kind" | "id">) => `${one.kind}:${one.id}`;
/** What people read of `user:…` or `group:…` where its name is not known. */
export function shortOf(word: string): string {
  const [kind = "", id = ""] = word.split(":");
  return `${t(`owner.${kind}` as TextKey)} ${id.slice(0, 8)}`;
}

/** `onChange` gets the word of who was chosen or typed in full, else "". A new `key` empties the field. */
export function SubjectField({ label, hint, onChange }: { label: string; hint: string; onChange: (word: string) => void }) {
  const text = useSignal("");
  const chosen = useSignal<Subject | null>(null);
  const found = useSignal<Subject[] | null>(null);
  const list = useId();
  useEffect(() => {
    if (chosen.value || !text.value) return void (found.value = null);
    const ending = new AbortController();
    const timer = setTimeout(() => {
      get<{ subjects: Subject[] }>("/v1/subjects", { query: { q: text.value.replace(/^(user|group):/, "") }, signal: ending.signal }).then(
        (answer) => (found.value = answer.subjects), () => (found.value = []));
    }, TYPING_MS);
    return () => (clearTimeout(timer), ending.abort());
  }, [text.value, chosen.value]);
  const typed = ID.test(text.value.trim()) ? text.value.trim() : "";
  const choose = (one: Subject) => {
    chosen.value = one;
    text.value = one.name ?? one.id;
    onChange(wordOf(one));
  };
  return (
    <>
      <Field label={label} hint={hint}>
        {(ids) => <input {...ids} data-first value={text.value} autocomplete="off" role="combobox" aria-expanded={Boolean(found.value?.length)} aria-controls={list}
          onInput={(event) => {
            text.value = event.currentTarget.value;
            chosen.value = null;
            onChange(ID.test(text.value.trim()) ? text.value.trim() : "");
          }} />}
      </Field>
      <ul id={list} class="subjects" role="listbox" aria-label={t("share.found")}>
        {found.value?.map((one) => (
          <li key={one.id} role="option" aria-selected={false} tabIndex={0} onClick={() => choose(one)}
            onKeyDown={(event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(one); } }}>
            {one.name ?? one.id} <span class="muted">{shortOf(wordOf(one))}</span>
          </li>
        ))}
      </ul>
      {found.value?.length === 0 && !typed && <p class="muted" role="status">{t("share.none-found")}</p>}
    </>
  );
}

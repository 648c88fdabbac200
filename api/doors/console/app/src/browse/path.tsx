/** Where one is: a chain of links, or a field for a path, with completion. */
import { useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { get } from "../lib/api";
import { baseName, join, parent, shown } from "../lib/names";
import { BASE, go } from "../lib/router";
import { t } from "../texts";
import { IconButton, Name } from "../ui/controls";
import { Icon } from "../ui/icon";
import { addressOf, base, titleOf, type VFolder } from "../people/vfolders";
import type { Entry } from "./entries";

const COMPLETIONS = 200;

export function PathBar({ folder, path }: { folder: VFolder; path: string }) {
  const typing = useSignal(false);
  const segments = path ? path.split("/") : [];
  if (typing.value) return <PathField folder={folder} path={path} onEnd={() => (typing.value = false)} />;
  return (
    <nav class="path" aria-label={t("path")}>
      <ol>
        <li><a href={BASE}>{t("nav.files")}</a></li>
        <Part to={addressOf(folder)} text={titleOf(folder)} last={!segments.length} />
        {segments.map((segment, index) => (
          <Part key={index} to={addressOf(folder, segments.slice(0, index + 1).join("/"))} text={segment} last={index === segments.length - 1} />
        ))}
      </ol>
      <IconButton icon="rename" label={t("path.type")} onClick={() => (typing.value = true)} />
    </nav>
  );
}

function Part({ to, text, last }: { to: string; text: string; last: boolean }) {
  return (
    <li>
      <Icon name="next" class="small" />
      {last ? <h1 aria-current="page"><Name text={text} /></h1> : <a href={to}><Name text={text} /></a>}
    </li>
  );
}

function PathField({ folder, path, onEnd }: { folder: VFolder; path: string; onEnd: () => void }) {
  const text = useSignal(path ? `${path}/` : "");
  const found = useSignal<string[]>([]);
  const field = useRef<HTMLInputElement>(null);
  const list = useId();
  const directory = parent(text.value);
  useEffect(() => field.current?.focus(), []);
  useEffect(() => {
    const ending = new AbortController();
    get<{ entries: Entry[] }>(`${base(folder)}/entries`, { query: { path: directory, limit: COMPLETIONS }, signal: ending.signal }).then(
      (page) => (found.value = page.entries.filter((one) => one.kind === "directory").map((one) => `${join(directory, one.name)}/`)),
      () => (found.value = []),
    );
    return () => ending.abort();
  }, [directory]);
  const wanted = baseName(text.value).toLowerCase();
  return (
    <form class="path" onSubmit={(event) => {
      event.preventDefault();
      onEnd();
      go(addressOf(folder, text.value.replace(/^\/+/, "")));
    }}>
      <label class="visually-hidden" for={`${list}-field`}>{t("path")}</label>
      <input ref={field} id={`${list}-field`} list={list} value={text.value} autocomplete="off" spellcheck={false} placeholder={t("path.hint")}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => { if (event.key === "Escape") { event.stopPropagation(); onEnd(); } }} />
      <datalist id={list}>
        {found.value.filter((one) => baseName(one.slice(0, -1)).toLowerCase().startsWith(wanted)).map((one) => <option key={one} value={one}>{shown(one)}</option>)}
      </datalist>
      <IconButton type="submit" icon="next" label={t("path.go")} />
      <IconButton icon="close" label={t("cancel")} onClick={onEnd} />
    </form>
  );
}

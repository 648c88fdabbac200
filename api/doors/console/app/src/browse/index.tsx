/** The browser of one folder: its address has the folder, the path, the filter and the selection. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { takeKeys } from "../frame/shortcuts";
import { number, size } from "../lib/format";
import { useLoad } from "../lib/load";
import { join, parent, shown } from "../lib/names";
import { BASE, go, place, setQuery } from "../lib/router";
import { t, type TextKey } from "../texts";
import { Button, IconButton, Name, Size, Time } from "../ui/controls";
import { Grid, type Column, type Sort } from "../ui/grid";
import { Icon, type IconName } from "../ui/icon";
import type { MenuItems } from "../ui/menu";
import { Empty, Notice, Part, ProblemNotice, Skeleton } from "../ui/parts";
import { Selection } from "../ui/selection";
import { toastProblem } from "../ui/toast";
import { addressOf, base, one, titleOf, type VFolder } from "../people/vfolders";
import { download } from "./download";
import { useListing, useShown, type Entry, type Listing } from "./entries";
import { PathBar } from "./path";

export function Browser({ segments }: { segments: string[] }) {
  const [ref = "", ...inside] = segments;
  const folder = useLoad(ref, (signal) => one(ref, signal));
  return (
    <Part load={folder} subject={ref}>
      {(found) => <Directory key={ref} folder={found} path={inside.join("/")} />}
    </Part>
  );
}

function Directory({ folder, path }: { folder: VFolder; path: string }) {
  const listing = useListing(base(folder), path)!;
  const selection = useMemo(() => new Selection(), [listing]);
  const sort = useSignal<Sort>({ key: "name", down: false });
  const filter = place.value.query.q ?? "";
  const field = useRef<HTMLInputElement>(null);
  const rows = useShown(listing.rows, listing.complete.value, filter, sort.value);
  const chosen = () => rows.filter((row) => selection.keys.value.has(row.name));
  useEffect(() => {
    document.title = `${path ? shown(path) : titleOf(folder)} · vfolder`;
  }, [path]);
  useEffect(() => takeKeys({ "/": () => field.current?.focus() }), []);
  useEffect(() => {
    const look = () => document.visibilityState === "visible" && void listing.load();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, [listing]);
  const open = (entry: Entry) => {
    if (entry.kind === "directory") go(addressOf(folder, join(path, entry.name)));
    else save([entry]);
  };
  const save = (entries: Entry[]) => void download(base(folder), path, entries).catch((error) => toastProblem(error));
  const actsOf = (entry: Entry): MenuItems => [
    entry.kind === "directory" && { label: t("entry.open"), icon: "open", run: () => open(entry) },
    { label: t("entry.download"), icon: "download", run: () => save([entry]) },
  ];
  return (
    <section class="whole">
      <div class="bar">
        <PathBar folder={folder} path={path} />
        <div class="space" />
        <label class="filter">
          <Icon name="search" />
          <span class="visually-hidden">{t("filter")}</span>
          <input ref={field} type="search" placeholder={t("filter.hint")} value={filter} onInput={(event) => setQuery({ q: event.currentTarget.value || null })} />
        </label>
        <IconButton icon="refresh" label={t("refresh")} aria-busy={listing.pending.value} onClick={() => void listing.load()} />
      </div>
      {selection.count.value > 0 && (
        <div class="bar chosen" role="toolbar" aria-label={t("selected.acts")}>
          <strong>{t("selected", { n: selection.count.value })}</strong>
          <span class="muted">{sum(chosen())}</span>
          <div class="space" />
          <Button icon="download" onClick={() => save(chosen())}>{t("selected.download")}</Button>
          <IconButton icon="close" label={t("selected.none")} onClick={() => selection.clear()} />
        </div>
      )}
      <Rows listing={listing} rows={rows} filter={filter}>
        <Grid label={t("entries.of", { name: path ? shown(path) : titleOf(folder) })} rows={rows} rowKey={(entry) => entry.name}
          text={(entry) => shown(entry.name)} columns={columns(folder, path)} total={listing.complete.value ? rows.length : null}
          selection={selection} sort={sort.value} onSort={(wanted) => (sort.value = wanted)} onOpen={open} menu={actsOf}
          detail={(entry) => <><Size bytes={entry.size_bytes} /> · <Time at={entry.modified_at} /></>}
          onKey={(event) => {
            if (event.key !== "Backspace") return false;
            go(path ? addressOf(folder, parent(path)) : BASE);
            return true;
          }} />
      </Rows>
      <p class="foot muted" role="status">{footOf(listing, rows, filter)}</p>
    </section>
  );
}

function sum(entries: Entry[]): string {
  const known = entries.filter((one) => one.size_bytes != null);
  const bytes = size(known.reduce((total, one) => total + one.size_bytes!, 0));
  return known.length === entries.length ? bytes : t("selected.files", { size: bytes });
}

function footOf(listing: Listing, rows: Entry[], filter: string): string {
  const all = listing.rows.value.length;
  if (!listing.complete.value) return all ? t("entries.so-far", { n: all }) : "";
  return filter ? t("entries.filtered", { shown: number(rows.length), n: all }) : t("entries.all", { n: all });
}

function Rows({ listing, rows, filter, children }: { listing: Listing; rows: Entry[]; filter: string; children: preact.ComponentChildren }) {
  const problem = listing.problem.value;
  if (!listing.rows.value.length && listing.pending.value)
    return (
      <div class="part" aria-busy="true">
        {listing.slow.value && <Notice kind="warn">{t("slow")}</Notice>}
        <Skeleton rows={10} />
      </div>
    );
  if (problem && !listing.rows.value.length) return <ProblemNotice problem={problem} subject={shown(listing.path)} onRetry={() => void listing.load()} />;
  return (
    <>
      {problem && <ProblemNotice problem={problem} compact onRetry={() => void listing.load()} />}
      {rows.length ? children : filter ? (
        <Empty icon="search" text={t("filter.none", { filter })}>
          <Button onClick={() => setQuery({ q: null })}>{t("filter.clear")}</Button>
        </Empty>
      ) : <Empty icon="folder" text={t("entries.empty")} />}
    </>
  );
}

const ICONS: Record<string, IconName> = { directory: "folder", file: "file", symlink: "symlink" };

const columns = (folder: VFolder, path: string): Array<Column<Entry>> => [
  {
    key: "name", title: t("column.name"), width: "minmax(0, 1fr)", sortable: true,
    cell: (entry) => <EntryName folder={folder} path={path} entry={entry} />,
  },
  { key: "size", title: t("column.size"), width: "110px", end: true, sortable: true, cell: (entry) => <Size bytes={entry.size_bytes} /> },
  { key: "changed", title: t("column.changed"), width: "150px", from: 640, sortable: true, cell: (entry) => <Time at={entry.modified_at} /> },
];

function EntryName({ folder, path, entry }: { folder: VFolder; path: string; entry: Entry }) {
  const kind = t(`kind.${entry.kind}` as TextKey);
  const inner = (
    <>
      <Icon name={ICONS[entry.kind] ?? "other"} class="kind" />
      <span class="visually-hidden">{kind}: </span>
      <Name text={entry.name} />
      {entry.symlink_target && <span class="muted cut">→ {shown(entry.symlink_target)}</span>}
    </>
  );
  return entry.kind === "directory"
    ? <a class="entry" href={addressOf(folder, join(path, entry.name))} tabIndex={-1}>{inner}</a>
    : <span class="entry">{inner}</span>;
}

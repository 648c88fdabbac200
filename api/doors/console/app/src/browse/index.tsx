/** The browser of one folder: its address has the folder, the path, the filter and the selection. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { takeKeys } from "../frame/shortcuts";
import { ofDrop, ofFiles, type Found } from "../lib/chosen";
import { number, size } from "../lib/format";
import { useLoad } from "../lib/load";
import { join, parent, shown } from "../lib/names";
import { BASE, go, path as addressTo, place, setQuery } from "../lib/router";
import { can } from "../lib/session";
import { t, type TextKey } from "../texts";
import { Button, IconButton, Name, Size, Time } from "../ui/controls";
import { Grid, type Column, type Sort } from "../ui/grid";
import { Icon, type IconName } from "../ui/icon";
import { Menu, type MenuItems } from "../ui/menu";
import { copyText, Empty, Notice, Part, ProblemNotice, Skeleton } from "../ui/parts";
import { Selection } from "../ui/selection";
import { toast, toastProblem } from "../ui/toast";
import { share } from "../people/share";
import { showTray } from "../people/tray";
import { add, whenLanded } from "../people/uploads";
import { addressOf, base, may, one, reference, titleOf, type VFolder } from "../people/vfolders";
import { archiveKind, ClipboardButton, deleteEntries, makeDirectory, moveOrCopy, paste, renameEntry, take, undoLast, unpack, type Here } from "./acts";
import { showDetails } from "./details";
import { download, downloadArchive, FORMATS } from "./download";
import { useListing, useShown, type Entry, type Listing } from "./entries";
import { PathBar } from "./path";
import { Preview } from "./preview";

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
  const here: Here = { folder, path, listing };
  useEffect(() => {
    document.title = `${path ? shown(path) : titleOf(folder)} · vfolder`;
  }, [path]);
  useEffect(() => takeKeys({ "/": () => field.current?.focus() }), []);
  useEffect(() => {
    const look = () => document.visibilityState === "visible" && void listing.load();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, [listing]);
  useLandings(here);
  useAddressOfSelection(selection, rows);
  const open = (entry: Entry) => {
    if (entry.kind === "directory") go(addressOf(folder, join(path, entry.name)));
    else if (entry.kind === "file") setQuery({ preview: entry.name });
    else save(here, [entry]);
  };
  const previewed = rows.find((row) => row.kind === "file" && row.name === place.value.query.preview);
  return (
    <section class="whole" {...useDrop(here)}>
      {folder.permission_via?.startsWith("break_glass") && (
        <Notice kind="warn"><p>{t("glass.open")} <Time at={folder.permission_expires_at} /></p></Notice>
      )}
      <div class="bar">
        <PathBar folder={folder} path={path} />
        <div class="space" />
        <label class="filter">
          <Icon name="search" />
          <span class="visually-hidden">{t("filter")}</span>
          <input ref={field} type="search" placeholder={t("filter.hint")} value={filter} onInput={(event) => setQuery({ q: event.currentTarget.value || null })} />
        </label>
        <ClipboardButton here={here} />
        <HereActs here={here} />
      </div>
      <Rows listing={listing} rows={rows} filter={filter} here={here}>
        <Grid label={t("entries.of", { name: path ? shown(path) : titleOf(folder) })} rows={rows} rowKey={(entry) => entry.name}
          text={(entry) => shown(entry.name)} columns={columns(folder, path)} total={listing.complete.value ? rows.length : null}
          selection={selection} sort={sort.value} onSort={(wanted) => (sort.value = wanted)} onOpen={open}
          menu={(entry) => rowActs(here, entry, () => open(entry))} isLeaving={(entry) => listing.leaving.value.has(entry.name)}
          detail={(entry) => <><Size bytes={entry.size_bytes} /> · <Time at={entry.modified_at} /></>}
          onKey={(event, entry) => onKey(here, event, selection.count.value ? chosen() : entry ? [entry] : [])} />
      </Rows>
      {previewed && (
        <Preview base={base(folder)} directory={path} entry={previewed} files={rows.filter((row) => row.kind === "file")}
          onMove={(name) => setQuery({ preview: name })} onDownload={() => save(here, [previewed])} onClose={() => setQuery({ preview: null })} />
      )}
      <div class="foot">
        <p class={selection.count.value ? "visually-hidden" : "muted"} role="status">{footOf(listing, rows, filter)}</p>
        {selection.count.value > 0 && <ChosenBar here={here} selection={selection} chosen={chosen} />}
      </div>
    </section>
  );
}

const save = (here: Here, entries: Entry[]) =>
  void download(base(here.folder), here.path, entries).catch((error) => toastProblem(error, entries.length === 1 ? shown(entries[0]!.name) : ""));

/** The keys of a list of entries that the list itself does not know. */
function onKey(here: Here, event: KeyboardEvent, chosen: Entry[]): boolean {
  const { folder, path } = here;
  const control = event.ctrlKey || event.metaKey;
  const key = control ? `control ${event.key.toLowerCase()}` : event.key;
  if (key === "Backspace") go(path ? addressOf(folder, parent(path)) : BASE);
  else if (key === "control c") take(here, chosen, "copy");
  else if (!may(folder, "rw")) return false;
  else if (key === "F2" && chosen.length === 1) renameEntry(here, chosen[0]!);
  else if (key === "control x") take(here, chosen, "move");
  else if (key === "control v") void paste(here).catch((error) => toastProblem(error));
  else if (key === "control z") void undoLast();
  else if (key === "Delete" && may(folder, "rwd") && chosen.length) void deleteEntries(here, chosen);
  else return false;
  return true;
}

/** What can be done with one entry; what is not allowed is not offered. */
export function rowActs(here: Here, entry: Entry, open: () => void): MenuItems {
  const { folder, path } = here;
  const writes = may(folder, "rw");
  return [
    entry.kind !== "symlink" && { label: t(entry.kind === "directory" ? "entry.open" : "entry.look"), icon: entry.kind === "directory" ? "open" : "eye", run: open },
    { label: t("entry.download"), icon: "download", run: () => save(here, [entry]) },
    ...(entry.kind === "directory" ? FORMATS.slice(1).map((format) => ({
      label: t("entry.download.as", { format }), icon: "download" as const,
      run: () => void downloadArchive(base(folder), [join(path, entry.name)], format).catch((error) => toastProblem(error)),
    })) : []),
    writes && { label: t("entry.rename"), icon: "rename", run: () => renameEntry(here, entry) },
    writes && { label: t("entry.move"), icon: "cut", run: () => moveOrCopy(here, [entry], "move") },
    { label: t("entry.copy"), icon: "copy", run: () => moveOrCopy(here, [entry], "copy") },
    { label: t("entry.copy.path"), icon: "copy", run: () => void copyText(join(path, entry.name)).then(() => toast(t("copied"))) },
    { label: t("entry.details"), icon: "info", run: () => showDetails(folder, path, entry) },
    may(folder, "owner") && can("links") && entry.kind !== "symlink" && { label: t("entry.link"), icon: "link", run: () => share(folder, join(path, entry.name)) },
    writes && archiveKind(entry) !== null && { label: t("entry.unpack"), icon: "folder-up", run: () => void unpack(here, entry) },
    may(folder, "rwd") && { label: t("entry.delete"), icon: "trash", danger: true, run: () => void deleteEntries(here, [entry]) },
  ];
}

function ChosenBar({ here, selection, chosen }: { here: Here; selection: Selection; chosen: () => Entry[] }) {
  const writes = may(here.folder, "rw");
  return (
    <div class="bar chosen" role="toolbar" aria-label={t("selected.acts")}>
      <strong>{t("selected", { n: selection.count.value })}</strong>
      <span class="muted">{sum(chosen())}</span>
      <div class="space" />
      <Button icon="download" onClick={() => save(here, chosen())}>{t("selected.download")}</Button>
      {writes && <Button icon="cut" onClick={() => moveOrCopy(here, chosen(), "move")}>{t("selected.move")}</Button>}
      <Button icon="copy" onClick={() => moveOrCopy(here, chosen(), "copy")}>{t("selected.copy")}</Button>
      {may(here.folder, "rwd") && <Button icon="trash" onClick={() => void deleteEntries(here, chosen())}>{t("selected.delete")}</Button>}
      <IconButton icon="close" label={t("selected.none")} onClick={() => selection.clear()} />
    </div>
  );
}

/** What can be done here: upload, make, look again. */
function HereActs({ here }: { here: Here }) {
  const files = useRef<HTMLInputElement>(null);
  const directories = useRef<HTMLInputElement>(null);
  const send = (event: Event) => {
    const input = event.currentTarget as HTMLInputElement;
    void upload(here, ofFiles(input.files!));
    input.value = "";
  };
  return (
    <>
      <IconButton icon="refresh" label={t("refresh")} aria-busy={here.listing.pending.value} onClick={() => void here.listing.load()} />
      {may(here.folder, "rw") && (
        <>
          <Button icon="new-folder" class="shrink" onClick={() => makeDirectory(here)}>{t("directory.new")}</Button>
          <Button kind="main" icon="upload" onClick={() => files.current?.click()}>{t("upload")}</Button>
          <IconButton icon="folder-up" label={t("upload.directory")} onClick={() => directories.current?.click()} />
          <input ref={files} type="file" multiple hidden tabIndex={-1} aria-label={t("upload")} data-upload="files" onChange={send} />
          <input ref={directories} type="file" multiple hidden tabIndex={-1} aria-label={t("upload.directory")} data-upload="directory"
            {...{ webkitdirectory: true }} onChange={send} />
        </>
      )}
      <Menu label={t("folder.more")} items={() => moreActs(here)} />
    </>
  );
}

/** What can be done with the folder that one is in. */
const moreActs = ({ folder, path }: Here): MenuItems => [
  { label: t("find"), icon: "search", run: () => go(addressTo(["find", reference(folder), ...path.split("/").filter(Boolean)])) },
  { label: t("share"), icon: "share", run: () => share(folder) },
  { label: t("trash.entries"), icon: "trash", run: () => go(addressTo(["trash", reference(folder)])) },
  folder.capabilities.includes("snapshot") && { label: t("snapshots"), icon: "camera", run: () => go(addressTo(["snapshots", reference(folder)])) },
  { label: t("entry.copy.path"), icon: "copy", run: () => void copyText(path || "/").then(() => toast(t("copied"))) },
];

async function upload(here: Here, found: Found[], empty: string[] = []): Promise<void> {
  showTray();
  await add(here.folder, here.path, found, empty).catch((error) => toastProblem(error));
  if (empty.length) await here.listing.load();
}

/** Files that are dropped on the page are uploaded; before the drop it says whether that is allowed. */
function useDrop(here: Here) {
  const over = useSignal(false);
  const writes = may(here.folder, "rw");
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  useEffect(() => {
    const paste = (event: ClipboardEvent) => {
      if (!writes || !event.clipboardData?.files.length) return;
      void upload(here, ofFiles(event.clipboardData.files));
    };
    document.addEventListener("paste", paste);
    return () => document.removeEventListener("paste", paste);
  }, [here.path, writes]);
  return {
    "data-drop": over.value ? t(writes ? "drop" : "drop.not", { name: here.path ? shown(here.path) : titleOf(here.folder) }) : undefined,
    "data-drop-kind": writes ? "yes" : "no",
    onDragOver: (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over.value = true;
      event.dataTransfer!.dropEffect = writes ? "copy" : "none";
    },
    onDragLeave: (event: DragEvent) => {
      if (!(event.currentTarget as Element).contains(event.relatedTarget as Node | null)) over.value = false;
    },
    onDrop: (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over.value = false;
      if (!writes) return;
      void ofDrop(event.dataTransfer!).then(({ found, empty }) => upload(here, found, empty), (error) => toastProblem(error));
    },
  };
}

const LANDED_MS = 1000;

/** Look again soon after files of this directory have landed, however many they are. */
function useLandings(here: Here): void {
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const end = whenLanded((folder, landed) => {
      const inside = !here.path || landed.startsWith(`${here.path}/`);
      if (timer || !inside || reference(folder) !== reference(here.folder)) return;
      timer = setTimeout(() => {
        timer = undefined;
        void here.listing.load();
      }, LANDED_MS);
    });
    return () => {
      end();
      clearTimeout(timer);
    };
  }, [here.listing]);
}

const ADDRESS_NAMES_MAX = 20;

/** The selection is in the address, as long as it is short; an address with one selects it. */
function useAddressOfSelection(selection: Selection, rows: Entry[]): void {
  const wanted = useRef(place.value.query.sel);
  useEffect(() => {
    if (!wanted.current || !rows.length) return;
    const names = wanted.current.split("/").filter((name) => rows.some((row) => row.name === name));
    wanted.current = undefined;
    if (!names.length) return;
    selection.all(names);
    selection.move(names[0]!);
  }, [rows]);
  const keys = selection.keys.value;
  useEffect(() => {
    if (wanted.current) return;
    setQuery({ sel: keys.size && keys.size <= ADDRESS_NAMES_MAX ? [...keys].join("/") : null });
  }, [keys]);
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

function Rows({ listing, rows, filter, here, children }: {
  listing: Listing;
  rows: Entry[];
  filter: string;
  here: Here;
  children: preact.ComponentChildren;
}) {
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
      ) : <Empty icon="folder" text={t(may(here.folder, "rw") ? "entries.empty.drop" : "entries.empty")} />}
    </>
  );
}

export const ICONS: Record<string, IconName> = { directory: "folder", file: "file", symlink: "symlink" };

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
      <Icon name={ICONS[entry.kind] ?? "other"} class="kind" label={`${kind}:`} />
      <Name text={entry.name} whole />
      {entry.symlink_target && <span class="muted cut">→ {shown(entry.symlink_target)}</span>}
    </>
  );
  return entry.kind === "directory"
    ? <a class="entry" href={addressOf(folder, join(path, entry.name))} tabIndex={-1}>{inner}</a>
    : <span class="entry">{inner}</span>;
}

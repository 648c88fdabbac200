/** What a snapshot has: its directories, looks into its files, and downloads. Nothing can be changed. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ICONS } from "../browse";
import { begin } from "../browse/download";
import type { Entry } from "../browse/entries";
import { Preview } from "../browse/preview";
import { address, get } from "../lib/api";
import { useLoad } from "../lib/load";
import { join, shown } from "../lib/names";
import { go, path as addressTo, place, setQuery } from "../lib/router";
import { t, type TextKey } from "../texts";
import { Name, Size, Time } from "../ui/controls";
import { Grid } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Part } from "../ui/parts";
import { base, reference, titleOf, type VFolder } from "./vfolders";

const PAGE = 1000;

async function listing(root: string, path: string, signal: AbortSignal): Promise<Entry[]> {
  const all: Entry[] = [];
  let cursor: string | null = null;
  do {
    const page: { entries: Entry[]; next: string | null } = await get(`${root}/entries`, { query: { path, limit: PAGE, cursor }, signal });
    all.push(...page.entries);
    cursor = page.next;
  } while (cursor);
  return all;
}

export function SnapshotFiles({ folder, name, path }: { folder: VFolder; name: string; path: string }) {
  const root = `${base(folder)}/snapshots/${encodeURIComponent(name)}`;
  const to = (inside: string) => addressTo(["snapshots", reference(folder), name, ...inside.split("/").filter(Boolean)]);
  const load = useLoad(`${root} ${path}`, (signal) => listing(root, path, signal));
  const sort = useSignal({ key: "name", down: false });
  useEffect(() => {
    document.title = `${name} · vfolder`;
  }, [name]);
  const segments = path.split("/").filter(Boolean);
  const save = (entry: Entry) =>
    begin(address(`${root}/content`, { path: join(path, entry.name), ...(entry.kind === "directory" ? { format: "zip" } : {}) }));
  const open = (entry: Entry) => (entry.kind === "directory" ? go(to(join(path, entry.name))) : setQuery({ preview: entry.name }));
  return (
    <section class="whole">
      <div class="bar">
        <nav class="path" aria-label={t("path")}>
          <ol>
            <li><a href={addressTo(["snapshots", reference(folder)])}>{t("snapshots.of", { name: titleOf(folder) })}</a></li>
            {[name, ...segments].map((segment, index) => (
              <li key={index}>
                <Icon name="next" class="small" />
                {index === segments.length ? <h1 aria-current="page"><Name text={segment} /></h1> : <a href={to(segments.slice(0, index).join("/"))}><Name text={segment} /></a>}
              </li>
            ))}
          </ol>
        </nav>
      </div>
      <Part load={load} subject={shown(path || name)} empty={(rows) => (rows.length ? null : <Empty icon="folder" text={t("entries.empty")} />)}>
        {(rows) => {
          const previewed = rows.find((row) => row.kind === "file" && row.name === place.value.query.preview);
          return (
            <>
              <Grid label={t("entries.of", { name: shown(path || name) })} rows={rows} rowKey={(row) => row.name} text={(row) => shown(row.name)} sort={sort.value}
                columns={[
                  { key: "name", title: t("column.name"), width: "minmax(0, 1fr)", cell: (row) => <EntryName entry={row} to={to(join(path, row.name))} /> },
                  { key: "size", title: t("column.size"), width: "110px", end: true, cell: (row) => <Size bytes={row.size_bytes} /> },
                  { key: "changed", title: t("column.changed"), width: "150px", from: 640, cell: (row) => <Time at={row.modified_at} /> },
                ]}
                detail={(row) => <><Size bytes={row.size_bytes} /> · <Time at={row.modified_at} /></>} onOpen={open}
                menu={(row) => [
                  row.kind !== "symlink" && { label: t(row.kind === "directory" ? "entry.open" : "entry.look"), icon: row.kind === "directory" ? "open" : "eye", run: () => open(row) },
                  row.kind !== "symlink" && { label: t("entry.download"), icon: "download", run: () => save(row) },
                ]} />
              {previewed && (
                <Preview base={root} directory={path} entry={previewed} files={rows.filter((row) => row.kind === "file")}
                  onMove={(next) => setQuery({ preview: next })} onDownload={() => save(previewed)} onClose={() => setQuery({ preview: null })} />
              )}
            </>
          );
        }}
      </Part>
    </section>
  );
}

function EntryName({ entry, to }: { entry: Entry; to: string }) {
  const inner = (
    <>
      <Icon name={ICONS[entry.kind] ?? "other"} class="kind" />
      <span class="visually-hidden">{t(`kind.${entry.kind}` as TextKey)}: </span>
      <Name text={entry.name} />
    </>
  );
  return entry.kind === "directory" ? <a class="entry" href={to} tabIndex={-1}>{inner}</a> : <span class="entry">{inner}</span>;
}

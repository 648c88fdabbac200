/** Search below a directory. A found row has the same acts as a listed one. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { call } from "../lib/api";
import { learn, type Job } from "../lib/jobs";
import { useLoad } from "../lib/load";
import { baseName, parent, shown } from "../lib/names";
import { go, path as addressTo, place, setQuery } from "../lib/router";
import { t } from "../texts";
import { Button, Choice, Field, Name, Size, Time } from "../ui/controls";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Notice, Part } from "../ui/parts";
import { addressOf, base, one, reference, titleOf, type VFolder } from "../people/vfolders";
import { Listing, type Entry } from "./entries";
import { ICONS, rowActs } from "./index";

interface Found {
  path: string;
  kind: string;
  size_bytes: number | null;
  modified_at: string | null;
}
const LIMIT = 10_000;
const AGES = ["", "1", "7", "30", "365"];
const SIZES: Array<[string, string]> = [["", ""], ["1048576", "1 MiB"], ["104857600", "100 MiB"], ["1073741824", "1 GiB"]];
const DAY_MS = 86_400_000;

export function Search({ segments }: { segments: string[] }) {
  const [ref = "", ...inside] = segments;
  const folder = useLoad(ref, (signal) => one(ref, signal));
  return <Part load={folder} subject={ref}>{(found) => <Below folder={found} path={inside.join("/")} />}</Part>;
}

function Below({ folder, path }: { folder: VFolder; path: string }) {
  const { match = "", kind = "", min = "", age = "" } = place.value.query;
  const typed = useSignal(match);
  const key = [reference(folder), path, match, kind, min, age].join("\n");
  const load = useLoad(match || kind || min || age ? key : null, async (signal) => {
    const query = {
      path, match, kind, min_bytes: min, limit: LIMIT,
      newer_than: age ? new Date(Math.floor((Date.now() - Number(age) * DAY_MS) / 1000) * 1000).toISOString().replace(".000", "") : "",
    };
    const answer = await call<{ entries: Found[] } | Job>("GET", `${base(folder)}/find`, { query, signal });
    if (answer.status !== 202) return { rows: (answer.data as { entries: Found[] }).entries, job: null };
    learn([answer.data as Job]);
    return { rows: [] as Found[], job: answer.data as Job };
  });
  useEffect(() => {
    document.title = `${t("find")} · vfolder`;
  }, []);
  return (
    <section class="whole">
      <div class="bar">
        <h1>{t("find.in", { name: path ? shown(path) : titleOf(folder) })}</h1>
        <div class="space" />
        <a class="button" href={addressOf(folder, path)}><Icon name="open" /><span>{t("find.back")}</span></a>
      </div>
      <form class="row" onSubmit={(event) => { event.preventDefault(); setQuery({ match: typed.value || null }); }}>
        <Field label={t("find.pattern")}>
          {(ids) => <input {...ids} type="search" value={typed.value} autofocus onInput={(event) => (typed.value = event.currentTarget.value)} />}
        </Field>
        <Choice label={t("find.kind")} value={kind} onChange={(value) => setQuery({ kind: value || null })}
          options={[["", t("find.any")], ["file", t("kind.file")], ["directory", t("kind.directory")], ["symlink", t("kind.symlink")]]} />
        <Choice label={t("find.size")} value={min} options={SIZES.map(([value, text]): [string, string] => [value, text || t("find.any")])} onChange={(value) => setQuery({ min: value || null })} />
        <Choice label={t("find.age")} value={age} options={AGES.map((one): [string, string] => [one, one ? t("days", { n: Number(one) }) : t("find.any")])} onChange={(value) => setQuery({ age: value || null })} />
        <Button type="submit" kind="main" icon="search">{t("find")}</Button>
      </form>
      <p class="hint">{t("find.pattern.hint")}</p>
      {match || kind || min || age ? (
        <Part load={load} empty={({ rows, job }) => job
          ? <Notice><p>{t("find.job")}</p><p><a href={addressTo(["jobs", job.id])}>{t("job.open")}</a></p></Notice>
          : rows.length ? null : <Nothing folder={folder} match={match || "…"} path={path} />}>
          {({ rows }) => <Rows folder={folder} rows={rows} reload={load.reload} />}
        </Part>
      ) : <Empty icon="search" text={t("find.begin")} />}
    </section>
  );
}

function Nothing({ folder, match, path }: { folder: VFolder; match: string; path: string }) {
  return (
    <Empty icon="search" text={t("find.none", { match, where: path ? shown(path) : titleOf(folder) })}>
      {path && <Button onClick={() => go(addressTo(["find", reference(folder)], place.value.query))}>{t("find.all")}</Button>}
    </Empty>
  );
}

function Rows({ folder, rows, reload }: { folder: VFolder; rows: Found[]; reload: () => void }) {
  const columns = useMemo((): Array<Column<Found>> => [
    {
      key: "path", title: t("column.name"), width: "minmax(0, 1fr)",
      cell: (row) => (
        <a class="entry" tabIndex={-1} href={addressOf(folder, row.kind === "directory" ? row.path : parent(row.path))}>
          <Icon name={ICONS[row.kind] ?? "other"} class="kind" /><Name text={row.path} />
        </a>
      ),
    },
    { key: "size", title: t("column.size"), width: "110px", end: true, cell: (row) => <Size bytes={row.size_bytes} /> },
    { key: "changed", title: t("column.changed"), width: "150px", from: 640, cell: (row) => <Time at={row.modified_at} /> },
  ], [folder]);
  const open = (row: Found) => go(row.kind === "directory" ? addressOf(folder, row.path) : `${addressOf(folder, parent(row.path))}?sel=${encodeURIComponent(baseName(row.path))}`);
  const acts = (row: Found) => {
    const listing = new AfterSearch(base(folder), parent(row.path), reload);
    const entry: Entry = { name: baseName(row.path), kind: row.kind, size_bytes: row.size_bytes, modified_at: row.modified_at, symlink_target: null };
    return [{ label: t("find.show"), icon: "open" as const, run: () => open(row) }, ...rowActs({ folder, path: parent(row.path), listing }, entry, () => open(row)).slice(row.kind === "directory" ? 1 : 0)];
  };
  return (
    <>
      <p class="muted" role="status">{t("find.found", { n: rows.length })}</p>
      <Grid label={t("find")} rows={rows} rowKey={(row) => row.path} text={(row) => shown(row.path)} columns={columns} onOpen={open} menu={acts}
        detail={(row) => <><Size bytes={row.size_bytes} /> · <Time at={row.modified_at} /></>} />
    </>
  );
}

/** The place of a found row: after an act the search runs again. */
class AfterSearch extends Listing {
  constructor(base: string, path: string, readonly again: () => void) {
    super(base, path);
  }
  override load(): Promise<void> {
    this.again();
    return Promise.resolve();
  }
}

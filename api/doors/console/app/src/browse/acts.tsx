/** What can be done with entries: make, rename, move, copy, unpack, delete, and take back. */
import { signal, useSignal } from "@preact/signals";
import { call, get, patch, post, Problem, repeatKey } from "../lib/api";
import { size } from "../lib/format";
import type { Job } from "../lib/jobs";
import { useLoad } from "../lib/load";
import { beside, join, parent, shown } from "../lib/names";
import { t } from "../texts";
import { Button, Field, Name } from "../ui/controls";
import { ask, FormDialog, openDialog } from "../ui/dialog";
import { Icon } from "../ui/icon";
import { Part } from "../ui/parts";
import { toast, toastProblem } from "../ui/toast";
import { base, ended, listAll, may, reference, titleOf, type VFolder } from "../people/vfolders";
import type { Entry, Listing } from "./entries";

/** Where the acts of a page are done. */
export interface Here {
  folder: VFolder;
  path: string;
  listing: Listing;
}

/** So many entries are deleted without a question, as long as at most one is a directory. */
const UNASKED_MAX = 100;
/** How many moves are asked of the server at a time. */
const AT_A_TIME = 4;

const named = (entries: Entry[]) =>
  entries.length === 1 ? shown(entries[0]!.name) : t("entries.all", { n: entries.length });

// -- Make and rename -------------------------------------------------------------------------------
export function makeDirectory(here: Here): void {
  openDialog((close) => <NameDialog title={t("directory.new")} confirm={t("directory.create")} value="" onClose={close} run={async (name) => {
    const path = join(here.path, name);
    const taken = here.listing.rows.value.some((one) => one.name === name);
    if (taken) throw new Problem(409, { detail: t("entry.taken", { name }) });
    const { results } = await post<{ results: Array<{ status: number; problem: Record<string, unknown> | null }> }>(
      `${base(here.folder)}/directories`, { paths: [path], parents: false });
    const problem = results[0]?.problem;
    if (problem) throw new Problem(results[0]!.status, problem);
    await here.listing.load();
  }} />);
}

export function renameEntry(here: Here, entry: Entry): void {
  openDialog((close) => <NameDialog title={t("entry.rename.of", { name: shown(entry.name) })} confirm={t("entry.rename")} value={entry.name} onClose={close}
    run={async (name) => {
      await move(here.folder, join(here.path, entry.name), join(here.path, name));
      await here.listing.load();
      offerUndo(t("entry.renamed", { name: shown(name) }), async () => {
        await move(here.folder, join(here.path, name), join(here.path, entry.name));
        await here.listing.load();
      });
    }} />);
}

function NameDialog({ title, confirm, value, onClose, run }: {
  title: string;
  confirm: string;
  value: string;
  onClose: () => void;
  run: (name: string) => Promise<void>;
}) {
  const name = useSignal(value);
  const wrong = /[/\0]/.test(name.value) || name.value === "." || name.value === ".." ? t("entry.name.wrong") : undefined;
  const stem = value.lastIndexOf(".") > 0 ? value.lastIndexOf(".") : value.length;
  return (
    <FormDialog title={title} confirm={confirm} onClose={onClose} disabled={!name.value || name.value === value || Boolean(wrong)} onConfirm={() => run(name.value)}>
      <Field label={t("column.name")} error={wrong}>
        {(ids) => <input {...ids} data-first value={name.value} autocomplete="off" spellcheck={false}
          onFocus={(event) => event.currentTarget.setSelectionRange(0, stem)}
          onInput={(event) => (name.value = event.currentTarget.value)} />}
      </Field>
    </FormDialog>
  );
}

const move = (folder: VFolder, from: string, to: string, overwrite = false) =>
  patch(`${base(folder)}/entry`, { to, ...(overwrite ? { overwrite } : {}) }, { query: { path: from } });

function offerUndo(text: string, run: () => Promise<void>): void {
  const end = toast(text, { act: { label: t("undo"), run } });
  lastUndo = () => (end(), run());
}
let lastUndo: (() => Promise<void>) | null = null;
/** Take the last act back: Ctrl+Z. */
export async function undoLast(): Promise<void> {
  const run = lastUndo;
  lastUndo = null;
  if (run) await run().catch((error) => toastProblem(error));
  else toast(t("undo.nothing"));
}

// -- Move and copy ---------------------------------------------------------------------------------
interface Clipboard {
  folder: VFolder;
  path: string;
  entries: Entry[];
  mode: "move" | "copy";
}
/** What was cut or copied, until it is pasted. */
export const clipboard = signal<Clipboard | null>(null);

export function take(here: Here, entries: Entry[], mode: Clipboard["mode"]): void {
  if (!entries.length) return;
  clipboard.value = { folder: here.folder, path: here.path, entries, mode };
  toast(t(mode === "move" ? "clipboard.cut" : "clipboard.copied", { what: named(entries) }));
}

export async function paste(here: Here): Promise<void> {
  const taken = clipboard.value;
  if (!taken) return;
  const same = reference(taken.folder) === reference(here.folder);
  if (taken.mode === "move" && same) {
    clipboard.value = null;
    await moveAll({ ...here, path: taken.path }, taken.entries, here.path);
  } else {
    const moves = taken.mode === "move" && may(taken.folder, "rwd");
    if (moves) clipboard.value = null;
    await transferAll({ ...here, folder: taken.folder, path: taken.path }, taken.entries, here.folder, here.path, moves);
  }
  await here.listing.load();
}

async function moveAll(from: Here, entries: Entry[], directory: string): Promise<void> {
  if (directory === from.path) return;
  const moved: Entry[] = [];
  const failed: unknown[] = [];
  await each(entries, async (entry) => {
    try {
      await move(from.folder, join(from.path, entry.name), join(directory, entry.name));
      moved.push(entry);
    } catch (error) {
      failed.push(error);
      if (failed.length === 1) toastProblem(error, shown(entry.name));
    }
  });
  await from.listing.load();
  if (moved.length)
    offerUndo(t("entries.moved", { n: moved.length, where: directory ? shown(directory) : titleOf(from.folder) }), async () => {
      await each(moved, (entry) => move(from.folder, join(directory, entry.name), join(from.path, entry.name)));
      await from.listing.load();
    });
}

async function each<T>(items: T[], run: (item: T) => Promise<unknown>): Promise<void> {
  const waiting = [...items];
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await run(item);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}

/** Copy entries by jobs, also into another folder; a move takes away from here what arrived there. */
async function transferAll(from: Here, entries: Entry[], target: VFolder, directory: string, moves: boolean): Promise<void> {
  const here = reference(from.folder) === reference(target) && directory === from.path;
  const taken = new Set(here ? from.listing.rows.value.map((one) => one.name) : []);
  const jobs: Array<Promise<Job>> = [];
  for (const entry of entries) {
    let name = entry.name;
    for (let number = 2; taken.has(name); number++) name = beside(entry.name, number);
    const job = await post<Job>(`${base(from.folder)}/transfer`, {
      to: reference(target), source_path: join(from.path, entry.name), target_path: join(directory, name), on_conflict: "fail",
      ...(moves ? { remove_source: true } : {}),
    }, { headers: repeatKey() });
    jobs.push(ended(job));
  }
  const results = await Promise.allSettled(jobs);
  const failed = results.flatMap((one, index) => (one.status === "rejected" ? [{ reason: one.reason as unknown, entry: entries[index]! }] : []));
  for (const one of failed.slice(0, 1)) toastProblem(one.reason, shown(one.entry.name));
  const done = entries.length - failed.length;
  const where = directory ? shown(directory) : titleOf(target);
  if (done) toast(t(moves ? "entries.moved" : "entries.copied", { n: done, where }));
  // What changed meanwhile stays in its place; the job says so.
  for (const one of results) if (moves && one.status === "fulfilled" && one.value.state === "partial") toast(one.value.progress?.text ?? "");
}

export function moveOrCopy(here: Here, entries: Entry[], mode: Clipboard["mode"]): void {
  openDialog((close) => <WhereDialog here={here} entries={entries} mode={mode} onClose={close} />);
}

function WhereDialog({ here, entries, mode, onClose }: { here: Here; entries: Entry[]; mode: Clipboard["mode"]; onClose: () => void }) {
  const target = useSignal(here.folder);
  const directory = useSignal(here.path);
  const others = useLoad(mode === "copy" || may(here.folder, "rwd") ? "folders" : null, async (signal) =>
    (await listAll({}, signal)).vfolders.filter((one) => may(one, "rw")));
  const inside = new Set(entries.filter((one) => one.kind === "directory").map((one) => join(here.path, one.name)));
  const same = directory.value === here.path && reference(target.value) === reference(here.folder);
  return (
    <FormDialog title={t(mode === "move" ? "move.title" : "copy.title", { what: named(entries) })} onClose={onClose}
      confirm={t(mode === "move" ? "move.here" : "copy.here")} disabled={mode === "move" && same}
      onConfirm={async () => {
        const moves = mode === "move";
        if (moves && reference(target.value) === reference(here.folder)) return moveAll(here, entries, directory.value);
        void transferAll(here, entries, target.value, directory.value, moves).then(() => here.listing.load(), (error) => toastProblem(error));
      }}>
      {others.data && (
        <Field label={t("folder")}>
          {(ids) => (
            <select {...ids} value={reference(target.value)} onChange={(event) => {
              target.value = others.data!.find((one) => reference(one) === event.currentTarget.value) ?? here.folder;
              directory.value = "";
            }}>
              {others.data!.map((one) => <option key={reference(one)} value={reference(one)}>{titleOf(one)}</option>)}
            </select>
          )}
        </Field>
      )}
      <DirectoryChoice folder={target.value} value={directory.value} without={inside} onChange={(path) => (directory.value = path)} />
    </FormDialog>
  );
}

const DIRECTORIES_MAX = 1000;

/** One level of directories at a time, with the way up. */
function DirectoryChoice({ folder, value, without, onChange }: {
  folder: VFolder;
  value: string;
  without: Set<string>;
  onChange: (path: string) => void;
}) {
  const load = useLoad(`${reference(folder)} ${value}`, async (signal) => {
    const page = await get<{ entries: Array<{ name: string }> }>(`${base(folder)}/entries`, {
      query: { path: value, kind: "directory", limit: DIRECTORIES_MAX }, signal,
    });
    return page.entries.map((one) => one.name);
  });
  return (
    <div class="choice">
      <p class="where"><Icon name="open" /> <Name text={value ? `${titleOf(folder)}/${value}` : titleOf(folder)} /></p>
      <ul>
        {value && <li><button type="button" onClick={() => onChange(parent(value))}><Icon name="folder-up" />{t("path.up")}</button></li>}
        <Part load={load} rows={3} empty={(names) => (names.length ? null : <li class="muted none">{t("choice.none")}</li>)}>
          {(names) => names.map((name) => {
            const path = join(value, name);
            return (
              <li key={name}>
                <button type="button" disabled={without.has(path)} onClick={() => onChange(path)}>
                  <Icon name="folder" /><Name text={name} />
                </button>
              </li>
            );
          })}
        </Part>
      </ul>
    </div>
  );
}

// -- Unpack ----------------------------------------------------------------------------------------
/** The kind of an archive that can be unpacked here, by its name. */
export function archiveKind(entry: Entry): "zip" | "tar" | null {
  if (entry.kind !== "file") return null;
  const name = entry.name.toLowerCase();
  if (name.endsWith(".zip")) return "zip";
  return /\.(tar|tar\.gz|tgz|tar\.zst|tar\.xz|tar\.bz2)$/.test(name) ? "tar" : null;
}

export async function unpack(here: Here, entry: Entry): Promise<void> {
  const stem = entry.name.replace(/\.(zip|tar|tgz|tar\.\w+)$/i, "");
  const taken = new Set(here.listing.rows.value.map((one) => one.name));
  let name = stem;
  for (let number = 2; taken.has(name); number++) name = beside(stem, number);
  try {
    const body = { source: join(here.path, entry.name), target: join(here.path, name), archive: archiveKind(entry) };
    await ended(await post<Job>(`${base(here.folder)}/extract`, body, { headers: repeatKey() }));
    toast(t("unpack.done", { name: shown(name) }));
    await here.listing.load();
  } catch (error) {
    toastProblem(error, shown(entry.name));
  }
}

// -- Delete ----------------------------------------------------------------------------------------
function known(entries: Entry[]): string {
  const files = entries.filter((one) => one.kind !== "directory");
  const directories = entries.length - files.length;
  const bytes = size(files.reduce((total, one) => total + (one.size_bytes ?? 0), 0));
  const parts = files.length ? [t("delete.files", { n: files.length, size: bytes })] : [];
  if (directories) parts.push(t("delete.directories", { n: directories }));
  return parts.join(" ");
}

/** Delete entries, to the trash. Few of them go at once and can be taken back; many are asked for. */
export async function deleteEntries(here: Here, entries: Entry[]): Promise<void> {
  const directories = entries.filter((one) => one.kind === "directory").length;
  if (directories > 1 || entries.length > UNASKED_MAX) {
    const body = <><p>{known(entries)}</p><p>{t("delete.kept")}</p></>;
    if (!(await ask({ title: t("delete.title", { n: entries.length }), body, confirm: t("delete.confirm", { n: entries.length }), danger: true }))) return;
  }
  const paths = entries.map((one) => join(here.path, one.name));
  const gone = new Set(entries.map((one) => one.name));
  try {
    const { data } = await call<Job>("POST", `${base(here.folder)}/delete`, { body: { paths, recursive: true }, headers: repeatKey() });
    here.listing.mark(gone);
    const job = await ended(data);
    await here.listing.load();
    const kept = Number(job.request.keep_seconds ?? 0) > 0;
    const text = t(kept ? "deleted.kept" : "deleted", { what: named(entries) });
    if (kept) offerUndo(text, () => takeBack(here, job.id));
    else toast(text);
  } catch (error) {
    here.listing.mark(null);
    toastProblem(error, named(entries));
    await here.listing.load();
  }
}

async function takeBack(here: Here, trash: string): Promise<void> {
  await ended(await post<Job>(`${base(here.folder)}/trash/${trash}/restore`, undefined, { headers: repeatKey() }));
  toast(t("undo.done"));
  await here.listing.load();
}

export function ClipboardButton({ here }: { here: Here }) {
  const taken = clipboard.value;
  if (!taken || !may(here.folder, "rw")) return null;
  return (
    <Button icon="copy" onClick={() => void paste(here).catch((error) => toastProblem(error))}>
      {t("clipboard.paste", { what: named(taken.entries) })}
    </Button>
  );
}

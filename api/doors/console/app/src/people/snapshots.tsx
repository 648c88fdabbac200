/** Snapshots of a folder: make one, look into one, restore one to a new folder, delete one. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, get, post, remove, repeatKey } from "../lib/api";
import type { Job } from "../lib/jobs";
import { useLoad, type Load } from "../lib/load";
import { go, path } from "../lib/router";
import { t } from "../texts";
import { Button, Field, Time } from "../ui/controls";
import { ask, FormDialog, openDialog } from "../ui/dialog";
import { Grid } from "../ui/grid";
import { Empty, Part } from "../ui/parts";
import { toast, toastProblem } from "../ui/toast";
import { SnapshotFiles } from "./snapshot";
import { addressOf, base, ended, folderChanged, may, one, reference, titleOf, type VFolder } from "./vfolders";

interface Snapshot {
  name: string;
  created_at: string | null;
  expires_at: string | null;
}

async function list(folder: VFolder, signal: AbortSignal): Promise<Snapshot[]> {
  const answer = await call<{ snapshots: Snapshot[] } | Job>("GET", `${base(folder)}/snapshots`, { signal });
  if (answer.status !== 202) return (answer.data as { snapshots: Snapshot[] }).snapshots;
  const job = await ended(answer.data as Job);
  return (job.result?.snapshots ?? []) as Snapshot[];
}

export function Snapshots({ segments }: { segments: string[] }) {
  const [ref = "", name, ...inside] = segments;
  const folder = useLoad(ref, (signal) => one(ref, signal));
  return (
    <Part load={folder} subject={ref}>
      {(found) => (name === undefined ? <Of folder={found} /> : <SnapshotFiles key={inside.join("/")} folder={found} name={name} path={inside.join("/")} />)}
    </Part>
  );
}

function Of({ folder }: { folder: VFolder }) {
  const load = useLoad(folder.id, async (signal) => (await list(folder, signal)).reverse());
  useEffect(() => {
    document.title = `${t("snapshots")} · vfolder`;
  }, []);
  return (
    <section class="whole">
      <div class="bar">
        <h1>{t("snapshots.of", { name: titleOf(folder) })}</h1>
        <div class="space" />
        <a class="button" href={addressOf(folder)}>{t("find.back")}</a>
        {may(folder, "rw") && (
          <Button kind="main" icon="camera" onClick={() => openDialog((close) => (
            <OneName title={t("snapshots.make")} confirm={t("snapshots.make")} value="" onClose={close} run={async (name) => {
              await ended(await post<Job>(`${base(folder)}/snapshots`, { name }, { headers: repeatKey() }));
              load.reload();
            }} />
          ))}>{t("snapshots.make")}</Button>
        )}
      </div>
      <Part load={load} empty={(rows) => (rows.length ? null : <Empty icon="camera" text={t("snapshots.none")} />)}>
        {(rows) => (
          <Grid label={t("snapshots")} rows={rows} rowKey={(row) => row.name} text={(row) => row.name}
            columns={[
              { key: "name", title: t("column.name"), width: "minmax(0, 1fr)", cell: (row) => row.name },
              { key: "created", title: t("snapshots.made"), width: "160px", cell: (row) => <Time at={row.created_at} /> },
              { key: "ends", title: t("column.expires"), width: "160px", from: 640, cell: (row) => <Time at={row.expires_at} /> },
            ]}
            detail={(row) => <Time at={row.created_at} />}
            onOpen={(row) => look(folder, row)}
            menu={(row) => [
              { label: t("snapshots.look"), icon: "eye", run: () => look(folder, row) },
              { label: t("snapshots.restore"), icon: "undo", run: () => restore(folder, row) },
              may(folder, "owner") && { label: t("snapshots.over"), icon: "undo", danger: true, run: () => void restoreOver(folder, row) },
              may(folder, "owner") && { label: t("snapshots.delete"), icon: "trash", danger: true, run: () => void drop(folder, row, load) },
            ]} />
        )}
      </Part>
    </section>
  );
}

const look = (folder: VFolder, row: Snapshot) => go(path(["snapshots", reference(folder), row.name]));

function restore(folder: VFolder, row: Snapshot): void {
  openDialog((close) => (
    <OneName title={t("snapshots.restore.of", { name: row.name })} confirm={t("snapshots.restore")} value={`${titleOf(folder)} ${row.name}`} onClose={close}
      run={async (name) => {
        await ended(await post<Job>(`${base(folder)}/snapshots/${encodeURIComponent(row.name)}/restore`, { name }, { headers: repeatKey() }));
        folderChanged();
        toast(t("snapshots.restored", { name }));
      }} />
  ));
}

async function restoreOver(folder: VFolder, row: Snapshot): Promise<void> {
  const title = t("snapshots.over.title", { folder: titleOf(folder), name: row.name });
  if (!(await ask({ title, body: <p>{t("snapshots.over.body")}</p>, confirm: t("snapshots.over"), danger: true }))) return;
  await post<Job>(`${base(folder)}/snapshots/${encodeURIComponent(row.name)}/restore`, { over: true }, { headers: repeatKey() })
    .then(ended)
    .then(() => toast(t("snapshots.over.done", { folder: titleOf(folder), name: row.name })), (error) => toastProblem(error, row.name));
}

async function drop(folder: VFolder, row: Snapshot, load: Load<Snapshot[]>): Promise<void> {
  if (!(await ask({ title: t("snapshots.delete.title", { name: row.name }), body: <p>{t("trash.purge.body")}</p>, confirm: t("snapshots.delete"), danger: true }))) return;
  await remove<Job>(`${base(folder)}/snapshots/${encodeURIComponent(row.name)}`).then(ended).catch((error) => toastProblem(error, row.name));
  load.reload();
}

function OneName({ title, confirm, value, onClose, run }: {
  title: string;
  confirm: string;
  value: string;
  onClose: () => void;
  run: (name: string) => Promise<void>;
}) {
  const name = useSignal(value);
  return (
    <FormDialog title={title} confirm={confirm} onClose={onClose} disabled={!name.value.trim()} onConfirm={() => run(name.value.trim())}>
      <Field label={t("column.name")}>
        {(ids) => <input {...ids} data-first maxLength={200} value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} />}
      </Field>
    </FormDialog>
  );
}

// -- Removed entries -------------------------------------------------------------------------------
interface Removed {
  id: string;
  deleted_at: string;
  expires_at: string;
  size_bytes: number | null;
  count: number;
  paths: string[];
}

/** The trash of one folder: removals, each of which comes back at once. */
export function FolderTrash({ reference }: { reference: string }) {
  const folder = useLoad(reference, (signal) => one(reference, signal));
  return <Part load={folder} subject={reference}>{(found) => <Removals folder={found} />}</Part>;
}

function Removals({ folder }: { folder: VFolder }) {
  const load = useLoad(folder.id, (signal) => get<{ trash: Removed[] }>(`${base(folder)}/trash`, { signal }));
  const act = (row: Removed, run: Promise<Job>, text: string) =>
    void run.then(ended).then(() => toast(text), (error) => toastProblem(error, row.paths[0] ?? "")).then(load.reload);
  const back = (row: Removed) => act(row, post<Job>(`${base(folder)}/trash/${row.id}/restore`, undefined, { headers: repeatKey() }), t("undo.done"));
  const purge = async (row: Removed) => {
    if (!(await ask({ title: t("trash.entries.purge", { n: row.count }), body: <p>{t("trash.purge.body")}</p>, confirm: t("trash.purge"), danger: true }))) return;
    act(row, remove<Job>(`${base(folder)}/trash/${row.id}`), t("trash.entries.purged"));
  };
  const what = (row: Removed) => (row.count > row.paths.length || row.count > 1 ? t("trash.and-more", { name: row.paths[0] ?? "", n: row.count - 1 }) : (row.paths[0] ?? ""));
  useEffect(() => {
    document.title = `${t("nav.trash")} · vfolder`;
  }, []);
  return (
    <section class="whole">
      <div class="bar"><h1>{t("trash.of", { name: titleOf(folder) })}</h1><div class="space" /><a class="button" href={addressOf(folder)}>{t("find.back")}</a></div>
      <Part load={load} empty={(data) => (data.trash.length ? null : <Empty icon="trash" text={t("trash.empty")} />)}>
        {(data) => (
          <Grid label={t("nav.trash")} rows={data.trash} rowKey={(row) => row.id} text={what}
            columns={[
              { key: "what", title: t("column.name"), width: "minmax(0, 1fr)", cell: (row) => <span class="cut" title={row.paths.join("\n")}>{what(row)}</span> },
              { key: "deleted", title: t("trash.deleted"), width: "150px", cell: (row) => <Time at={row.deleted_at} /> },
              { key: "until", title: t("trash.until"), width: "150px", from: 640, cell: (row) => <Time at={row.expires_at} /> },
            ]}
            detail={(row) => <Time at={row.deleted_at} />}
            menu={(row) => [
              may(folder, "rwd") && { label: t("trash.restore"), icon: "undo", run: () => back(row) },
              may(folder, "owner") && { label: t("trash.purge"), icon: "trash", danger: true, run: () => void purge(row) },
            ]} />
        )}
      </Part>
    </section>
  );
}

/** The folders (vfolders) that a person may see: own ones, those of groups, and shared ones. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { takeKeys } from "../frame/shortcuts";
import { get, remove } from "../lib/api";
import { size } from "../lib/format";
import { useLoad } from "../lib/load";
import { go, path, place, setQuery } from "../lib/router";
import { me } from "../lib/session";
import { t, type TextKey } from "../texts";
import { Button, Choice, Field, Name, Size, Time } from "../ui/controls";
import { ask, FormDialog, openDialog } from "../ui/dialog";
import { Grid, type Column, type Sort } from "../ui/grid";
import { Icon } from "../ui/icon";
import type { MenuItems } from "../ui/menu";
import { Empty, Notice, Part } from "../ui/parts";
import { toast, toastProblem } from "../ui/toast";
import { giveFolder } from "./ownership";
import { share } from "./share";
import {
  addressOf, base, change, clone, create, discard, ended, folderChanged, listAll, may, reference, restore, titleOf, useChanges, type VFolder,
} from "./vfolders";

type View = "all" | "shared";

export function Files({ view }: { view: View }) {
  const filter = place.value.query.q ?? "";
  const sort = useSignal<Sort>({ key: "name", down: false });
  const field = useRef<HTMLInputElement>(null);
  const load = useLoad(view, (signal) => listAll(view === "shared" ? { shared: "true" } : {}, signal));
  useChanges(load);
  useEffect(() => {
    document.title = `${t(view === "shared" ? "nav.shared" : "nav.files")} · vfolder`;
  }, [view]);
  useEffect(() => {
    const focus = () => document.visibilityState === "visible" && load.reload();
    document.addEventListener("visibilitychange", focus);
    return () => document.removeEventListener("visibilitychange", focus);
  }, []);
  useEffect(() => takeKeys({ "/": () => field.current?.focus() }), []);
  const all = load.data?.vfolders ?? [];
  const rows = useMemo(() => arranged(all, filter, sort.value), [all, filter, sort.value]);
  return (
    <section class="whole">
      <div class="bar">
        <h1>{t(view === "shared" ? "nav.shared" : "nav.files")}</h1>
        <div class="space" />
        <label class="filter">
          <Icon name="search" />
          <span class="visually-hidden">{t("filter")}</span>
          <input ref={field} type="search" placeholder={t("filter.hint")} value={filter}
            onInput={(event) => setQuery({ q: event.currentTarget.value || null })} />
        </label>
        {view === "all" && <Button kind="main" icon="plus" onClick={() => newFolder()}>{t("folder.new")}</Button>}
      </div>
      {load.data && !load.data.complete && <Notice>{t("files.incomplete")}</Notice>}
      <Part load={load} empty={(data) => (data.vfolders.length ? null : <NoFolders view={view} />)}>
        {() => rows.length === 0 ? (
          <Empty icon="search" text={t("filter.none", { filter })}>
            <Button onClick={() => setQuery({ q: null })}>{t("filter.clear")}</Button>
          </Empty>
        ) : (
          <Grid label={t("nav.files")} rows={rows} rowKey={reference} text={titleOf} columns={COLUMNS()} sort={sort.value}
            onSort={(wanted) => (sort.value = wanted)} onOpen={(folder) => go(addressOf(folder))} menu={actsOf}
            detail={(folder) => `${t(`permission.${folder.permission}` as TextKey)} · ${ownerOf(folder)} · ${size(folder.usage.used_bytes)}`} />
        )}
      </Part>
    </section>
  );
}

function NoFolders({ view }: { view: View }) {
  if (view === "shared") return <Empty icon="users" text={t("files.empty.shared")} />;
  return (
    <Empty icon="folder" text={t("files.empty")}>
      <Button kind="main" icon="plus" onClick={() => newFolder()}>{t("folder.new")}</Button>
    </Empty>
  );
}

export function ownerOf(folder: VFolder): string {
  if (folder.owner.kind === "user" && folder.owner.id === me.value?.subject.id) return t("owner.me");
  return folder.owner.name || `${t(folder.owner.kind === "user" ? "owner.user" : "owner.group")} ${folder.owner.id.slice(0, 8)}`;
}

const COLUMNS = (): Array<Column<VFolder>> => [
  {
    key: "name", title: t("column.name"), width: "minmax(0, 1fr)", sortable: true,
    cell: (folder) => (
      <a class="entry" href={addressOf(folder)} tabIndex={-1}>
        <Icon name={folder.type === "group" ? "users" : "folder"} class="kind" /><Name text={titleOf(folder)} />
      </a>
    ),
  },
  { key: "owner", title: t("column.owner"), width: "140px", from: 700, sortable: true, cell: (folder) => <span class="cut">{ownerOf(folder)}</span> },
  { key: "permission", title: t("column.permission"), width: "130px", cell: (folder) => t(`permission.${folder.permission}` as TextKey) },
  { key: "volume", title: t("column.volume"), width: "110px", from: 820, sortable: true, cell: (folder) => <span class="cut">{folder.volume}</span> },
  {
    key: "used", title: t("column.used"), width: "150px", end: true, sortable: true,
    cell: (folder) => folder.usage.limit_bytes == null ? <Size bytes={folder.usage.used_bytes} /> : (
      <span class="number">{t("used.of", { used: size(folder.usage.used_bytes), limit: size(folder.usage.limit_bytes) })}</span>
    ),
  },
  {
    key: "shared", title: t("column.shared"), width: "90px", from: 900, end: true,
    cell: (folder) => (folder.shared_with ? String(folder.shared_with) : <span class="muted">–</span>),
  },
  { key: "expires", title: t("column.expires"), width: "120px", from: 1000, cell: (folder) => <Time at={folder.expires_at} /> },
];

const SORTS: Record<string, (folder: VFolder) => string | number> = {
  name: (folder) => titleOf(folder).toLowerCase(),
  owner: (folder) => ownerOf(folder).toLowerCase(),
  volume: (folder) => folder.volume,
  used: (folder) => folder.usage.used_bytes ?? -1,
};

function arranged(all: VFolder[], filter: string, sort: Sort): VFolder[] {
  const text = filter.toLowerCase();
  const found = text ? all.filter((one) => titleOf(one).toLowerCase().includes(text)) : [...all];
  const by = SORTS[sort.key] ?? SORTS.name!;
  found.sort((a, b) => {
    const [x, y] = [by(a), by(b)];
    const order = typeof x === "number" ? x - (y as number) : x.localeCompare(y as string);
    return (order || titleOf(a).localeCompare(titleOf(b))) * (sort.down ? -1 : 1);
  });
  return found;
}

/** What can be done with a folder; what is not allowed is not offered. */
export function actsOf(folder: VFolder): MenuItems {
  const owner = may(folder, "owner");
  return [
    { label: t("folder.open"), icon: "open", run: () => go(addressOf(folder)) },
    { label: t("share"), icon: "share", run: () => share(folder) },
    { label: t("find"), icon: "search", run: () => go(path(["find", reference(folder)])) },
    { label: t("trash.entries"), icon: "trash", run: () => go(path(["trash", reference(folder)])) },
    folder.capabilities.includes("snapshot") && { label: t("snapshots"), icon: "camera", run: () => go(path(["snapshots", reference(folder)])) },
    { label: t("folder.clone"), icon: "copy", run: () => openDialog((close) => <CloneFolder folder={folder} onClose={close} />) },
    owner && { label: t("folder.rename"), icon: "rename", run: () => renameFolder(folder) },
    owner && { label: t(folder.next_owner ? "give.see" : "give"), icon: "users", run: () => giveFolder(folder) },
    !owner && folder.permission_via.startsWith("grant") && { label: t("folder.leave"), icon: "leave", danger: true, run: () => void leave(folder) },
    owner && { label: t("folder.delete"), icon: "trash", danger: true, run: () => void deleteFolder(folder) },
  ];
}

function newFolder(): void {
  openDialog((close) => <NewFolder onClose={close} />);
}

function NewFolder({ onClose }: { onClose: () => void }) {
  const volumes = me.value?.volumes ?? [];
  const groups = (me.value?.groups ?? []).filter((one) => one.admin);
  const name = useSignal("");
  const volume = useSignal(volumes[0] ?? "");
  const owner = useSignal("");
  return (
    <FormDialog title={t("folder.new")} confirm={t("folder.create")} onClose={onClose} disabled={!name.value.trim()}
      onConfirm={async () => {
        const made = await create({
          name: name.value.trim(),
          ...(volume.value ? { volume: volume.value } : {}),
          ...(owner.value ? { owner: owner.value } : {}),
        });
        go(addressOf(made));
      }}>
      <Field label={t("column.name")} hint={t("folder.name.hint")}>
        {(ids) => <input {...ids} data-first maxLength={200} value={name.value} required
          onInput={(event) => (name.value = event.currentTarget.value)} />}
      </Field>
      {volumes.length > 1 && (
        <Choice label={t("column.volume")} value={volume.value} options={volumes.map((one) => [one, one])}
          onChange={(value) => (volume.value = value)} />
      )}
      {groups.length > 0 && (
        <Choice label={t("column.owner")} value={owner.value}
          options={[["", t("owner.me")], ...groups.map((one): [string, string] => [`group:${one.id}`, one.name || `${t("owner.group")} ${one.id.slice(0, 8)}`])]}
          onChange={(value) => (owner.value = value)} />
      )}
    </FormDialog>
  );
}

function renameFolder(folder: VFolder): void {
  openDialog((close) => <RenameFolder folder={folder} onClose={close} />);
}

function RenameFolder({ folder, onClose }: { folder: VFolder; onClose: () => void }) {
  const name = useSignal(titleOf(folder));
  return (
    <FormDialog title={t("folder.rename")} confirm={t("folder.rename")} onClose={onClose}
      disabled={!name.value.trim() || name.value === folder.name}
      onConfirm={async () => {
        await change(folder, { name: name.value.trim() });
      }}>
      <Field label={t("column.name")}>
        {(ids) => <input {...ids} data-first maxLength={200} value={name.value} required
          onInput={(event) => (name.value = event.currentTarget.value)} />}
      </Field>
    </FormDialog>
  );
}

function CloneFolder({ folder, onClose }: { folder: VFolder; onClose: () => void }) {
  const name = useSignal(t("folder.clone.name", { name: titleOf(folder) }));
  return (
    <FormDialog title={t("folder.clone.of", { name: titleOf(folder) })} confirm={t("folder.clone")} onClose={onClose} disabled={!name.value.trim()}
      onConfirm={async () => {
        const job = await clone(folder, name.value.trim());
        toast(t("folder.clone.begun", { name: name.value.trim() }));
        void ended(job).then(() => (folderChanged(), toast(t("folder.cloned", { name: name.value.trim() }))), (error) => toastProblem(error, titleOf(folder)));
      }}>
      <Field label={t("column.name")}>
        {(ids) => <input {...ids} data-first maxLength={200} value={name.value} required onInput={(event) => (name.value = event.currentTarget.value)} />}
      </Field>
    </FormDialog>
  );
}

/** Give back what others shared with this person alone. */
async function leave(folder: VFolder): Promise<void> {
  const name = titleOf(folder);
  if (!(await ask({ title: t("folder.leave.title", { name }), body: <p>{t("folder.leave.body")}</p>, confirm: t("folder.leave"), danger: true }))) return;
  try {
    const { grants } = await get<{ grants: Array<{ id: string; to: string }> }>(`${base(folder)}/grants`);
    const mine = grants.filter((one) => one.to === `user:${me.value?.subject.id}`);
    if (!mine.length) return void toast(t("folder.leave.group"), { kind: "bad" });
    for (const one of mine) await remove(`${base(folder)}/grants/${one.id}`);
    folderChanged();
    toast(t("folder.left", { name }));
  } catch (error) {
    toastProblem(error, name);
  }
}

export async function deleteFolder(folder: VFolder): Promise<void> {
  const name = titleOf(folder);
  const { used_bytes: bytes, entries } = folder.usage;
  const what = bytes == null ? t("folder.delete.unknown") : t("folder.delete.counted", { n: entries ?? 0, size: size(bytes) });
  const sure = await ask({
    title: t("folder.delete.title", { name }),
    body: <><p>{what}</p><p>{t("folder.delete.kept")}</p></>,
    confirm: t("folder.delete"),
    danger: true,
  });
  if (!sure) return;
  try {
    await discard(folder);
    toast(t("folder.deleted", { name }), {
      act: { label: t("undo"), run: async () => { await restore(folder); } },
    });
  } catch (error) {
    toastProblem(error, name);
  }
}

/** What was deleted and can still be restored: folders of the person. */
import { useEffect } from "preact/hooks";
import { useLoad } from "../lib/load";
import { t } from "../texts";
import { Field, Name, Size } from "../ui/controls";
import { FormDialog, openDialog } from "../ui/dialog";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import type { MenuItems } from "../ui/menu";
import { Empty, Part } from "../ui/parts";
import { toast, toastProblem } from "../ui/toast";
import { useSignal } from "@preact/signals";
import { ownerOf } from "./files";
import { FolderTrash } from "./snapshots";
import { listAll, may, purge, reference, restore, titleOf, useChanges, type VFolder } from "./vfolders";

const COLUMNS = (): Array<Column<VFolder>> => [
  {
    key: "name", title: t("column.name"), width: "minmax(0, 1fr)",
    cell: (folder) => <span class="entry"><Icon name="folder" class="kind" /><Name text={titleOf(folder)} /></span>,
  },
  { key: "owner", title: t("column.owner"), width: "140px", from: 700, cell: ownerOf },
  { key: "volume", title: t("column.volume"), width: "110px", cell: (folder) => folder.volume },
  { key: "used", title: t("column.used"), width: "110px", end: true, cell: (folder) => <Size bytes={folder.usage.used_bytes} /> },
];

export function Trash({ segments }: { segments: string[] }) {
  return segments[0] ? <FolderTrash reference={segments[0]} /> : <Folders />;
}

function Folders() {
  const load = useLoad("trash", (signal) => listAll({ trashed: "true" }, signal));
  useChanges(load);
  useEffect(() => {
    document.title = `${t("nav.trash")} · vfolder`;
  }, []);
  return (
    <section class="whole">
      <div class="bar"><h1>{t("nav.trash")}</h1></div>
      <p class="muted">{t("trash.hint")}</p>
      <Part load={load} empty={(data) => (data.vfolders.length ? null : <Empty icon="trash" text={t("trash.empty")} />)}>
        {(data) => (
          <Grid label={t("nav.trash")} rows={data.vfolders} rowKey={reference} text={titleOf} columns={COLUMNS()}
            detail={(folder) => `${folder.volume} · ${ownerOf(folder)}`} menu={acts} />
        )}
      </Part>
    </section>
  );
}

function acts(folder: VFolder): MenuItems {
  if (!may(folder, "owner")) return [];
  return [
    { label: t("trash.restore"), icon: "undo", run: () => void bringBack(folder) },
    { label: t("trash.purge"), icon: "trash", danger: true, run: () => openDialog((close) => <Purge folder={folder} onClose={close} />) },
  ];
}

async function bringBack(folder: VFolder): Promise<void> {
  try {
    await restore(folder);
    toast(t("trash.restored", { name: titleOf(folder) }));
  } catch (error) {
    toastProblem(error, titleOf(folder));
  }
}

/** Deleting for good asks for the name. */
function Purge({ folder, onClose }: { folder: VFolder; onClose: () => void }) {
  const typed = useSignal("");
  const name = titleOf(folder);
  return (
    <FormDialog title={t("trash.purge.title", { name })} confirm={t("trash.purge")} danger onClose={onClose} disabled={typed.value !== name}
      onConfirm={async () => {
        await purge(folder);
        toast(t("trash.purged", { name }));
          }}>
      <p>{t("trash.purge.body")}</p>
      <Field label={t("trash.purge.type", { name })}>
        {(ids) => <input {...ids} value={typed.value} autocomplete="off" onInput={(event) => (typed.value = event.currentTarget.value)} />}
      </Field>
    </FormDialog>
  );
}

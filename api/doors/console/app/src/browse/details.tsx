/** What is known of one entry, and the same for several: their number and bytes. */
import { get } from "../lib/api";
import { useLoad } from "../lib/load";
import { join, shown } from "../lib/names";
import { t, type TextKey } from "../texts";
import { Name, Size, Time } from "../ui/controls";
import { Dialog, openDialog } from "../ui/dialog";
import { Part } from "../ui/parts";
import { ownerOf } from "../people/files";
import { Fact } from "../people/jobs";
import { base, type VFolder } from "../people/vfolders";
import type { Entry } from "./entries";

interface Known extends Entry {
  mode: number | null;
  changed_at: string | null;
}

const MODE_BITS = 0o7777;
const TRIPLES = [6, 3, 0];

/** A mode as `ls -l` writes its permissions, with the octal number. */
function modeText(mode: number): string {
  const letters = TRIPLES.map((at) => ["r", "w", "x"].map((letter, bit) => ((mode >> at) & (4 >> bit) ? letter : "-")).join("")).join("");
  return `${letters} (${(mode & MODE_BITS).toString(8)})`;
}

export function showDetails(folder: VFolder, path: string, entry: Entry): void {
  openDialog((close) => <Details folder={folder} path={join(path, entry.name)} name={entry.name} onClose={close} />);
}

function Details({ folder, path, name, onClose }: { folder: VFolder; path: string; name: string; onClose: () => void }) {
  const load = useLoad(`${base(folder)} ${path}`, (signal) => get<Known>(`${base(folder)}/entry`, { query: { path }, signal }));
  return (
    <Dialog title={shown(name)} onClose={onClose}>
      <div class="body">
        <Part load={load} subject={shown(path)}>
          {(known) => (
            <dl class="facts">
              <Fact name={t("details.path")}><Name text={path} /></Fact>
              <Fact name={t("details.kind")}>{t(`kind.${known.kind}` as TextKey)}</Fact>
              {known.symlink_target !== null && <Fact name={t("details.target")}><Name text={known.symlink_target} /></Fact>}
              <Fact name={t("column.size")}><Size bytes={known.size_bytes} /></Fact>
              <Fact name={t("column.changed")}><Time at={known.modified_at} /></Fact>
              <Fact name={t("details.mode")}><span class="mono">{known.mode === null ? "–" : modeText(known.mode)}</span></Fact>
              <Fact name={t("details.who")}>{who(folder)}</Fact>
            </dl>
          )}
        </Part>
      </div>
    </Dialog>
  );
}

/** Who can see what is in the folder, as far as this person may know. */
function who(folder: VFolder): string {
  const others = [folder.shared_with > 0 && t("details.shared", { n: folder.shared_with }), folder.links > 0 && t("details.links", { n: folder.links })];
  return [t("details.owner", { owner: ownerOf(folder) }), ...others].filter(Boolean).join("; ");
}

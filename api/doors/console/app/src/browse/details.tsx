/** What is known of one entry, and the same for several: their number and bytes. */
import { useSignal } from "@preact/signals";
import { address, asProblem, call, Problem, problemOf } from "../lib/api";
import { useLoad } from "../lib/load";
import { join, shown } from "../lib/names";
import { t, type TextKey } from "../texts";
import { Button, Name, Size, Time } from "../ui/controls";
import { Dialog, openDialog } from "../ui/dialog";
import { Part, ProblemNotice } from "../ui/parts";
import { ownerOf } from "../people/files";
import { Fact } from "../people/jobs";
import { base, titleOf, type VFolder } from "../people/vfolders";
import type { Entry } from "./entries";

interface Known extends Entry {
  mode: number | null;
  changed_at: string | null;
}
interface Looked {
  known: Known;
  /** Of the content; a digest is that of this version. */
  etag: string | null;
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
  const load = useLoad(`${base(folder)} ${path}`, async (signal): Promise<Looked> => {
    const { data, etag } = await call<Known>("GET", `${base(folder)}/entry`, { query: { path }, signal });
    return { known: data, etag };
  });
  return (
    <Dialog title={shown(name)} onClose={onClose}>
      <div class="body">
        <Part load={load} subject={shown(path)}>
          {({ known, etag }) => (
            <dl class="facts">
              <Fact name={t("details.path")}><Name text={path} /></Fact>
              <Fact name={t("details.kind")}>{t(`kind.${known.kind}` as TextKey)}</Fact>
              {known.symlink_target !== null && <Fact name={t("details.target")}><Name text={known.symlink_target} /></Fact>}
              <Fact name={t("column.size")}><Size bytes={known.size_bytes} /></Fact>
              <Fact name={t("column.changed")}><Time at={known.modified_at} /></Fact>
              <Fact name={t("details.changed")}><Time at={known.changed_at} /></Fact>
              <Fact name={t("details.mode")}><span class="mono">{known.mode === null ? "–" : modeText(known.mode)}</span></Fact>
              <Fact name={t("column.owner")}>{ownerOf(folder)}</Fact>
              <Fact name={t("details.who")}>{who(folder)}</Fact>
              {known.kind === "file" && <Fact name={t("details.digest")}><Digest folder={folder} path={path} bytes={known.size_bytes} etag={etag} /></Fact>}
            </dl>
          )}
        </Part>
      </div>
    </Dialog>
  );
}

/** The browser holds the whole file for its digest. */
const DIGEST_BYTES_MAX = 64 * 1024 * 1024;

/** The digest of a file, when asked for; the browser reads the file for it. */
function Digest({ folder, path, bytes, etag }: { folder: VFolder; path: string; bytes: number | null; etag: string | null }) {
  const digest = useSignal("");
  const busy = useSignal(false);
  const problem = useSignal<Problem | null>(null);
  if (bytes === null || bytes > DIGEST_BYTES_MAX)
    return <span>{t("details.digest.large")} <code>{`vfolder cat "${titleOf(folder)}:${shown(path)}" | sha256sum`}</code></span>;
  const compute = async () => {
    busy.value = true;
    problem.value = null;
    try {
      digest.value = await digestOf(address(`${base(folder)}/content`, { path }), etag);
    } catch (error) {
      problem.value = asProblem(error);
    }
    busy.value = false;
  };
  if (digest.value) return <code class="name">{digest.value}</code>;
  return (
    <>
      <Button aria-busy={busy.value} disabled={busy.value} onClick={() => void compute()}>{t("details.digest.compute")}</Button>
      {problem.value && <ProblemNotice problem={problem.value} compact />}
    </>
  );
}

async function digestOf(url: string, etag: string | null): Promise<string> {
  const response = await fetch(url, etag ? { headers: { "If-Match": etag } } : {});
  if (!response.ok) throw await problemOf(response);
  const digest = await crypto.subtle.digest("SHA-256", await response.arrayBuffer());
  return [...new Uint8Array(digest)].map((one) => one.toString(16).padStart(2, "0")).join("");
}

/** Who can see what is in the folder, as far as this person may know. */
function who(folder: VFolder): string {
  const others = [folder.shared_with > 0 && t("details.shared", { n: folder.shared_with }), folder.links > 0 && t("details.links", { n: folder.links })];
  return [t("details.owner", { owner: ownerOf(folder) }), ...others].filter(Boolean).join("; ");
}

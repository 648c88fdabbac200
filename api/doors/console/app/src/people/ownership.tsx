/** A folder gets another owner: its owner offers it, and the next one accepts at an address. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { asProblem, post, type Problem } from "../lib/api";
import { BASE, go, path } from "../lib/router";
import { t } from "../texts";
import { Button } from "../ui/controls";
import { FormDialog, openDialog } from "../ui/dialog";
import { copyText, Notice, ProblemNotice } from "../ui/parts";
import { toast } from "../ui/toast";
import { shortOf, SubjectField } from "./subjects";
import { addressOf, base, folderChanged, reference, titleOf, unchanged, type VFolder } from "./vfolders";

/** Offer a folder to a user or a group, or take the offer back. */
export function giveFolder(folder: VFolder): void {
  openDialog((close) => (folder.next_owner ? <Offered folder={folder} onClose={close} /> : <Offer folder={folder} onClose={close} />));
}

function Offer({ folder, onClose }: { folder: VFolder; onClose: () => void }) {
  const to = useSignal("");
  return (
    <FormDialog title={t("give.title", { name: titleOf(folder) })} confirm={t("give.offer")} disabled={!to.value} onClose={onClose}
      onConfirm={async () => {
        const offered = await post<VFolder>(`${base(folder)}/owner`, { to: to.value }, unchanged(folder));
        folderChanged();
        openDialog((close) => <Offered folder={offered} onClose={close} />);
      }}>
      <p>{t("give.body")}</p>
      <SubjectField label={t("give.to")} hint={t("share.with.hint")} onChange={(word) => (to.value = word)} />
    </FormDialog>
  );
}

function Offered({ folder, onClose }: { folder: VFolder; onClose: () => void }) {
  const url = `${location.origin}${path(["accept", reference(folder)])}`;
  return (
    <FormDialog title={t("give.title", { name: titleOf(folder) })} confirm={t("give.back")} onClose={onClose}
      onConfirm={async () => {
        await post(`${base(folder)}/owner`, { to: null }, unchanged(folder));
        folderChanged();
        toast(t("give.taken-back"));
      }}>
      <p>{t("give.offered", { name: shortOf(folder.next_owner ?? "") })}</p>
      <p><code class="cut">{url}</code></p>
      <Button icon="copy" onClick={() => void copyText(url).then(() => toast(t("copied")))}>{t("give.copy")}</Button>
    </FormDialog>
  );
}

/** The page for the next owner, who may see nothing of the folder before. */
export function Accept({ segments }: { segments: string[] }) {
  const ref = segments[0] ?? "";
  const problem = useSignal<Problem | null>(null);
  const busy = useSignal(false);
  useEffect(() => {
    document.title = `${t("accept")} · vfolder`;
  }, []);
  const accept = async () => {
    busy.value = true;
    problem.value = null;
    try {
      const folder = await post<VFolder>(`/v1/vfolders/${ref}/owner/accept`);
      folderChanged();
      go(addressOf(folder));
    } catch (error) {
      problem.value = asProblem(error);
      busy.value = false;
    }
  };
  return (
    <section class="column">
      <h1>{t("accept")}</h1>
      <Notice><p>{t("accept.body")}</p></Notice>
      {problem.value && <ProblemNotice problem={problem.value} />}
      <div class="acts">
        <Button kind="main" aria-busy={busy.value} disabled={busy.value} onClick={() => void accept()}>{t("accept.act")}</Button>
        <a class="button" href={BASE}>{t("accept.not")}</a>
      </div>
    </section>
  );
}

/** A ticket to upload: where files are dropped or chosen, and how far each is. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ofDrop, ofFiles, type Found } from "../lib/chosen";
import { size } from "../lib/format";
import { baseName, shown } from "../lib/names";
import { t } from "../texts";
import { Button, Name, Size, State } from "../ui/controls";
import { Icon } from "../ui/icon";
import { ends, type Ticket } from "./claims";
import { add, cancel, items, retry, skip, totals, turn, type Sent, type SentState, type Totals } from "./queue";
import { Shown } from "./shown";

/** So many files are shown; the rest are counts. */
const SHOWN_MAX = 200;
/** How often a screen reader hears how far it is (milliseconds). */
const SPOKEN_MS = 5000;

/** The name of the one file that a ticket takes; empty where the service alone knows it. */
const onlyName = (ticket: Ticket) => (ticket.tree ? "" : baseName(ticket.relpath ?? ""));

function aboutOf(ticket: Ticket): string {
  const most = size(ticket.size);
  const path = ticket.relpath ? shown(ticket.relpath) : "";
  const where = !ticket.tree ? (onlyName(ticket) ? t("ticket.takes.named", { path, size: most }) : t("ticket.takes", { size: most }))
    : path && path !== "." ? t("ticket.stored.below", { path, size: most })
    : t(!path && ticket.selection ? "ticket.stored.link" : "ticket.stored", { size: most });
  return `${where} ${ends(ticket)} ${t("ticket.resumes")}`;
}

/** Whether a ticket takes these files. */
function takes(ticket: Ticket, found: Found[]): boolean {
  const only = onlyName(ticket);
  return ticket.tree === true || (found.length === 1 && (!only || found[0]!.file.name === only));
}

export function UploadPage({ ticket }: { ticket: Ticket }) {
  const refused = useSignal("");
  const only = onlyName(ticket);
  const refuse = () => void (refused.value = only ? t("ticket.one.named", { name: shown(only) }) : t("ticket.one"));
  const take = (found: Found[]) => {
    refused.value = "";
    if (!found.length) return;
    if (!takes(ticket, found)) return refuse();
    const order = new Intl.Collator(undefined, { numeric: true }).compare;
    found.sort((one, other) => order(one.path, other.path));
    for (const { file, path } of found) add(ticket, file, ticket.tree ? path : only || path);
  };
  return (
    <Shown title={ticket.tree ? "ticket.upload.files" : "ticket.upload.file"} about={aboutOf(ticket)}>
      <section id="upload">
        <Chooser ticket={ticket} only={only} take={take} refuse={refuse} />
        <p id="refused" class="wrong" role="alert">{refused.value}</p>
        <Progressing ticket={ticket} />
      </section>
    </Shown>
  );
}

function Chooser({ ticket, only, take, refuse }: { ticket: Ticket; only: string; take: (found: Found[]) => void; refuse: () => void }) {
  const over = useSignal(false);
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const chosen = (event: Event) => {
    const input = event.currentTarget as HTMLInputElement;
    take(ofFiles(input.files));
    input.value = ""; // the same files can be chosen again
  };
  const drop = async (event: DragEvent) => {
    event.preventDefault();
    over.value = false;
    const { found, directories } = await ofDrop(event.dataTransfer!);
    if (directories && !ticket.tree) refuse();
    else take(found);
  };
  const text = ticket.tree ? t("ticket.drop") : only ? t("ticket.drop.named", { name: shown(only) }) : t("ticket.drop.one");
  return (
    <>
      <button id="drop" type="button" class={`drop-zone ${over.value ? "over" : ""}`} onClick={() => files.current?.click()}
        onDragOver={(event) => { event.preventDefault(); over.value = true; }} onDragLeave={() => (over.value = false)}
        onDrop={(event) => void drop(event)}>
        <Icon name="upload" /><span>{text}</span>
      </button>
      <div class="acts">
        <Button onClick={() => files.current?.click()}>{t(ticket.tree ? "ticket.choose.files" : "ticket.choose.file")}</Button>
        <Button id="folder-label" hidden={!ticket.tree} onClick={() => folder.current?.click()}>{t("ticket.choose.folder")}</Button>
      </div>
      <input id="files" ref={files} type="file" multiple={ticket.tree === true} hidden tabIndex={-1} aria-label={t("ticket.choose.files")} onChange={chosen} />
      <input id="folder" ref={folder} type="file" hidden tabIndex={-1} aria-label={t("ticket.choose.folder")} {...{ webkitdirectory: true }} onChange={chosen} />
    </>
  );
}

function totalOf(all: Totals): string {
  const parts = [t("ticket.total", { done: all.done, all: all.files, sent: size(all.sent), bytes: size(all.bytes) })];
  if (all.failed) parts.push(t("ticket.total.failed", { n: all.failed }));
  if (all.asking) parts.push(t("ticket.total.exist", { n: all.asking }));
  return parts.join(", ");
}

/** How far all is, what can be done with all, and the files. */
function Progressing({ ticket }: { ticket: Ticket }) {
  void turn.value;
  const spoken = useSignal("");
  const any = items.size > 0;
  useEffect(() => {
    if (!any) return;
    const timer = setInterval(() => (spoken.value = totalOf(totals())), SPOKEN_MS);
    return () => clearInterval(timer);
  }, [any]);
  const all = totals();
  const each = (state: SentState, act: (item: Sent) => void) => [...items.values()].filter((one) => one.state === state).forEach(act);
  const cancelAll = () => [...items.values()].forEach((item) => item.state !== "exists" && cancel(ticket, item));
  return (
    <>
      <p class="visually-hidden" role="status">{spoken.value}</p>
      <p id="total">{any && totalOf(all)}</p>
      <progress id="all" hidden={!any} max={1} value={all.bytes ? all.over / all.bytes : Number(!all.open && !all.asking)} aria-label={t("ticket.all")} />
      <div class="acts">
        <Button id="cancel" hidden={!all.open} onClick={cancelAll}>{t("ticket.cancel.all")}</Button>
        <Button id="retry" hidden={!all.again} onClick={() => each("failed", (item) => retry(ticket, item))}>{t("ticket.retry.all")}</Button>
        <Button id="replace" hidden={!all.asking} onClick={() => each("exists", (item) => retry(ticket, item, true))}>{t("ticket.replace.all")}</Button>
      </div>
      <Rows ticket={ticket} />
    </>
  );
}

const FIRST: SentState[] = ["exists", "failed", "offline", "sending", "waiting", "done", "cancelled"];

/** In the order of names; of very many those that are worth a look. */
function shownItems(): Sent[] {
  const all = [...items.values()];
  if (all.length <= SHOWN_MAX) return all;
  return FIRST.flatMap((state) => all.filter((one) => one.state === state)).slice(0, SHOWN_MAX);
}

function Rows({ ticket }: { ticket: Ticket }) {
  void turn.value;
  const found = shownItems();
  const more = items.size - found.length;
  return (
    <ul id="list" class="items" aria-label={t("uploads")}>
      {found.map((item) => <Row key={item.name} ticket={ticket} item={item} />)}
      {more > 0 && <li class="line muted">{t("uploads.more", { n: more })}</li>}
    </ul>
  );
}

const KINDS = { waiting: "idle", sending: "busy", offline: "warn", exists: "warn", done: "ok", failed: "bad", cancelled: "idle" } as const;

function Row({ ticket, item }: { ticket: Ticket; item: Sent }) {
  // The item is the same object: what changed in it shows by `turn`.
  void turn.value;
  const share = item.file.size ? item.sent / item.file.size : Number(item.state === "done");
  return (
    <li class="line" data-state={item.state}>
      <div class="grow">
        <Name text={item.name} /> <span class="muted"><Size bytes={item.file.size} /></span>
        <progress aria-label={shown(item.name)} max={1} value={share} />
        {item.text && <p class={item.state === "failed" ? "wrong" : "muted"}>{item.text}</p>}
      </div>
      <State kind={KINDS[item.state]}>{t(`ticket.state.${item.state}`)}</State>
      <RowActs ticket={ticket} item={item} />
    </li>
  );
}

function RowActs({ ticket, item }: { ticket: Ticket; item: Sent }) {
  void turn.value;
  const name = shown(item.name);
  if (item.state === "exists")
    return (
      <div class="acts">
        <Button aria-label={t("ticket.replace.of", { name })} onClick={() => retry(ticket, item, true)}>{t("clash.replace")}</Button>
        <Button aria-label={t("ticket.skip.of", { name })} onClick={() => skip(item)}>{t("clash.skip")}</Button>
      </div>
    );
  if (item.state === "cancelled" || (item.state === "failed" && !item.final))
    return <Button aria-label={t("ticket.retry.of", { name })} onClick={() => retry(ticket, item)}>{t("ticket.retry")}</Button>;
  if (item.state === "done" || item.state === "failed") return null;
  return <Button aria-label={t("ticket.cancel.of", { name })} onClick={() => cancel(ticket, item)}>{t("cancel")}</Button>;
}

/** A look into a file: text, Markdown, notebooks, tables, pictures, or bytes. Nothing of it ever becomes a document of this origin. */
import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect } from "preact/hooks";
import { address, Problem, problemOf } from "../lib/api";
import { size } from "../lib/format";
import { useLoad } from "../lib/load";
import { baseName, join, shown } from "../lib/names";
import { t } from "../texts";
import { Button, IconButton } from "../ui/controls";
import { Dialog } from "../ui/dialog";
import { Notice, Part } from "../ui/parts";
import type { Entry } from "./entries";

const TEXT_BYTES = 1024 * 1024;
const IMAGE_BYTES_MAX = 50 * 1024 * 1024;
/** A larger notebook is shown as text, and so is longer Markdown: to lay it out would stop the page. */
const NOTEBOOK_BYTES_MAX = 20 * 1024 * 1024;
const MARKDOWN_LENGTH_MAX = 256 * 1024;
const HEX_BYTES = 4096;
const HEX_ROW = 16;
const ROWS_MAX = 1000;
const FOLLOW_MS = 2000;
const TAIL_BYTES = 65_536;
/** Raster pictures only: an SVG is a document that may have scripts. */
const IMAGES: Record<string, string> = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", avif: "image/avif" };

type Look =
  | { kind: "image"; url: string }
  | { kind: "text"; text: string; encoding: string; cut: boolean; etag: string; laidOut: VNode | null }
  | { kind: "table"; rows: string[][]; cut: boolean }
  | { kind: "hex"; bytes: Uint8Array; cut: boolean };

const ending = (name: string) => name.slice(name.lastIndexOf(".") + 1).toLowerCase();

async function fetched(url: string, signal: AbortSignal, headers: Record<string, string> = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { headers, signal, credentials: "same-origin" });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Problem(0, { detail: t("problem.offline"), retriable: true });
  }
  if (!response.ok && response.status !== 416) throw await problemOf(response);
  return response;
}

async function look(url: string, name: string, bytes: number | null, signal: AbortSignal): Promise<Look> {
  const type = IMAGES[ending(name)];
  if (type && (bytes ?? Infinity) <= IMAGE_BYTES_MAX) {
    const data = await (await fetched(url, signal)).arrayBuffer();
    return { kind: "image", url: URL.createObjectURL(new Blob([data], { type })) };
  }
  const isNotebook = ending(name) === "ipynb" && (bytes ?? Infinity) <= NOTEBOOK_BYTES_MAX;
  const most = isNotebook ? NOTEBOOK_BYTES_MAX : TEXT_BYTES;
  const response = bytes === 0 ? new Response() : await fetched(url, signal, { Range: `bytes=0-${most - 1}` });
  let data = new Uint8Array(await response.arrayBuffer());
  const notebook = isNotebook ? await asNotebook(data) : null;
  data = data.subarray(0, TEXT_BYTES);
  const cut = bytes !== null && bytes > data.length;
  if (data.subarray(0, HEX_BYTES * 2).includes(0)) return { kind: "hex", bytes: data.subarray(0, HEX_BYTES), cut: cut || data.length > HEX_BYTES };
  const { text, encoding } = decoded(data, cut);
  if (["csv", "tsv"].includes(ending(name))) {
    const rows = parsed(text, ending(name) === "tsv" ? "\t" : text.slice(0, 2000).split(";").length > text.slice(0, 2000).split(",").length ? ";" : ",");
    return { kind: "table", rows: rows.slice(0, ROWS_MAX), cut: cut || rows.length > ROWS_MAX };
  }
  const laidOut = notebook ?? (cut ? null : await asMarkdown(name, text));
  return { kind: "text", text, encoding, cut, etag: response.headers.get("ETag") ?? "", laidOut };
}

/** The notebook in these bytes; its code is loaded when it is needed. */
async function asNotebook(data: Uint8Array): Promise<VNode | null> {
  const { notebookOf, NotebookView } = await import("./notebook");
  const notebook = notebookOf(new TextDecoder().decode(data));
  return notebook && <NotebookView notebook={notebook} />;
}

async function asMarkdown(name: string, text: string): Promise<VNode | null> {
  if (!["md", "markdown"].includes(ending(name)) || !text || text.length > MARKDOWN_LENGTH_MAX) return null;
  const { Markdown } = await import("./markdown");
  return <Markdown text={text} />;
}

/** Text of bytes: UTF-8 as far as it is, else each byte as Windows has it. */
function decoded(bytes: Uint8Array, cut: boolean): { text: string; encoding: string } {
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: cut }), encoding: "UTF-8" };
  } catch {
    return { text: new TextDecoder("windows-1252").decode(bytes), encoding: "Windows-1252" };
  }
}

/** The rows of comma-separated values (RFC 4180). */
function parsed(text: string, comma: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length && rows.length <= ROWS_MAX; at++) {
    const sign = text[at]!;
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (text[at + 1] === '"') cell += text[++at];
      else quoted = false;
    } else if (sign === '"' && !cell) quoted = true;
    else if (sign === comma) row.push(cell), (cell = "");
    else if (sign === "\n") rows.push([...row, cell.replace(/\r$/, "")]), (row = []), (cell = "");
    else cell += sign;
  }
  if (cell || row.length) rows.push([...row, cell]);
  return rows;
}

export function Preview({ base, directory, entry, files, onMove, onDownload, onClose }: {
  base: string;
  directory: string;
  entry: Entry;
  files: Entry[];
  onMove: (name: string) => void;
  onDownload: () => void;
  onClose: () => void;
}) {
  const url = address(`${base}/content`, { path: join(directory, entry.name) });
  const load = useLoad(url, (signal) => look(url, entry.name, entry.size_bytes, signal));
  const wrap = useSignal(true);
  const follows = useSignal(false);
  const asText = useSignal(false);
  const laidOut = load.data?.kind === "text" && !asText.value ? load.data.laidOut : null;
  const index = files.findIndex((one) => one.name === entry.name);
  const step = (by: number) => {
    const next = files[index + by];
    if (next) onMove(next.name);
  };
  useEffect(() => () => {
    if (load.data?.kind === "image") URL.revokeObjectURL(load.data.url);
  }, [load.data]);
  useEffect(() => {
    follows.value = asText.value = false;
    const keys = (event: KeyboardEvent) => {
      if (event.key === "ArrowRight" && !event.altKey) step(1);
      else if (event.key === "ArrowLeft" && !event.altKey) step(-1);
    };
    document.addEventListener("keydown", keys, true);
    return () => document.removeEventListener("keydown", keys, true);
  }, [entry.name, files]);
  return (
    <Dialog title={shown(baseName(entry.name))} wide onClose={onClose}>
      <div class="bar preview-bar">
        <span class="muted">{size(entry.size_bytes)}{load.data?.kind === "text" ? ` · ${load.data.encoding}` : ""}</span>
        <div class="space" />
        {load.data?.kind === "text" && load.data.laidOut && <Button aria-pressed={asText.value} onClick={() => (asText.value = !asText.value)}>{t("preview.source")}</Button>}
        {load.data?.kind === "text" && !laidOut && <Button aria-pressed={wrap.value} onClick={() => (wrap.value = !wrap.value)}>{t("preview.wrap")}</Button>}
        {load.data?.kind === "text" && !laidOut && <Button aria-pressed={follows.value} onClick={() => (follows.value = !follows.value)}>{t("preview.follow")}</Button>}
        <Button icon="download" onClick={onDownload}>{t("entry.download")}</Button>
        <IconButton icon="up" label={t("preview.before")} disabled={index <= 0} onClick={() => step(-1)} />
        <IconButton icon="down" label={t("preview.after")} disabled={index < 0 || index >= files.length - 1} onClick={() => step(1)} />
      </div>
      <div class="body preview">
        {follows.value ? <Tail url={url} wrap={wrap.value} /> : (
          <Part load={load} subject={shown(entry.name)}>
            {(found) => laidOut ?? <Shown look={found} name={entry.name} wrap={wrap.value} />}
          </Part>
        )}
      </div>
    </Dialog>
  );
}

function Shown({ look: found, name, wrap }: { look: Look; name: string; wrap: boolean }) {
  const cut = "cut" in found && found.cut ? <Notice>{t(`preview.cut.${found.kind}` as "preview.cut.text")}</Notice> : null;
  if (found.kind === "image") return <img src={found.url} alt={shown(name)} />;
  if (found.kind === "text") return <>{cut}{found.text ? <pre class={wrap ? "wrap" : ""} tabIndex={0}>{found.text}</pre> : <p class="muted">{t("preview.empty")}</p>}</>;
  if (found.kind === "hex") return <>{cut}<pre tabIndex={0}>{hex(found.bytes)}</pre></>;
  const [head = [], ...rows] = found.rows;
  return (
    <>
      {cut}
      <div class="csv" tabIndex={0} role="region" aria-label={shown(name)}>
        <table>
          <thead><tr>{head.map((cell, at) => <th key={at} scope="col">{cell}</th>)}</tr></thead>
          <tbody>{rows.map((row, at) => <tr key={at}>{row.map((cell, column) => <td key={column}>{cell}</td>)}</tr>)}</tbody>
        </table>
      </div>
    </>
  );
}

function hex(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += HEX_ROW) {
    const row = bytes.subarray(at, at + HEX_ROW);
    const digits = [...row].map((one) => one.toString(16).padStart(2, "0")).join(" ");
    const signs = [...row].map((one) => (one >= 0x20 && one < 0x7f ? String.fromCharCode(one) : ".")).join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${digits.padEnd(HEX_ROW * 3)} ${signs}`);
  }
  return lines.join("\n");
}

/** The end of a file that grows. */
function Tail({ url, wrap }: { url: string; wrap: boolean }) {
  const load = useLoad(`tail ${url}`, async (signal) => decoded(new Uint8Array(await (await fetched(`${url}&tail=${TAIL_BYTES}`, signal)).arrayBuffer()), false).text);
  useEffect(() => {
    const timer = setInterval(() => { if (!document.hidden) load.reload(); }, FOLLOW_MS);
    return () => clearInterval(timer);
  }, []);
  const element = useSignal<HTMLPreElement | null>(null);
  useEffect(() => element.value?.scrollTo(0, element.value.scrollHeight), [load.data]);
  return <Part load={load}>{(text) => <pre ref={(found) => void (element.value = found)} class={wrap ? "wrap" : ""} tabIndex={0}>{text}</pre>}</Part>;
}

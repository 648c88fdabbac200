/** A Jupyter notebook (nbformat 4): its cells, and of each result the text or the raster picture. */
import { useEffect, useState } from "preact/hooks";
import { t } from "../texts";
import { Notice } from "../ui/parts";
import { Markdown } from "./markdown";

/** Cells that are shown; more make the page slow. */
const CELLS_MAX = 500;
/** Characters of one output that are shown. */
const OUTPUT_MAX = 100_000;
const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
/** Colours of terminals (ECMA-48 control sequences), which tracebacks have. */
const COLOURS = /\u001b\[[0-9;]*[A-Za-z]/g;

type Text = string | string[];
type Output = { output_type?: string; text?: Text; data?: Record<string, Text>; ename?: string; evalue?: string; traceback?: string[] };
type Cell = { cell_type?: string; source?: Text; outputs?: Output[]; execution_count?: number | null };
export type Notebook = { cells: Cell[]; more: boolean };

const isText = (value: unknown): value is Text => typeof value === "string" || (Array.isArray(value) && value.every((one) => typeof one === "string"));
const joined = (value: unknown): string => (isText(value) ? (typeof value === "string" ? value : value.join("")) : "");
const listed = <One,>(value: unknown): One[] => (Array.isArray(value) ? value.filter((one) => one && typeof one === "object") : []);

/** The notebook in a text; null when it is none. */
export function notebookOf(text: string): Notebook | null {
  try {
    const found = JSON.parse(text) as { nbformat?: unknown; cells?: unknown };
    if (found?.nbformat !== 4 || !Array.isArray(found.cells)) return null;
    const cells = listed<Cell>(found.cells);
    return { cells: cells.slice(0, CELLS_MAX), more: cells.length > CELLS_MAX };
  } catch {
    return null;
  }
}

export function NotebookView({ notebook }: { notebook: Notebook }) {
  return (
    <div class="notebook">
      {notebook.more && <Notice>{t("preview.cells", { n: CELLS_MAX })}</Notice>}
      {notebook.cells.map((cell, at) => <CellView key={at} cell={cell} />)}
    </div>
  );
}

function CellView({ cell }: { cell: Cell }) {
  const source = joined(cell.source);
  if (cell.cell_type === "markdown") return <Markdown text={source} />;
  if (cell.cell_type !== "code") return <pre class="wrap" tabIndex={0}>{source}</pre>;
  return (
    <section class="cell" aria-label={t("preview.cell", { n: cell.execution_count ?? " " })}>
      <div class="muted mono">[{cell.execution_count ?? " "}]</div>
      <div class="of-cell">
        <pre class="code" tabIndex={0}>{source}</pre>
        {listed<Output>(cell.outputs).map((output, at) => <OutputView key={at} output={output} />)}
      </div>
    </section>
  );
}

function OutputView({ output }: { output: Output }) {
  const data = output.data && typeof output.data === "object" ? output.data : {};
  const type = PICTURES.find((one) => isText(data[one]));
  if (type) return <Picture type={type} data={joined(data[type])} text={joined(data["text/plain"])} />;
  if (output.output_type === "error") {
    const lines = isText(output.traceback) ? [output.traceback].flat() : [];
    return <pre class="bad" tabIndex={0}>{cut((lines.join("\n") || `${joined(output.ename)}: ${joined(output.evalue)}`).replace(COLOURS, ""))}</pre>;
  }
  const text = joined(output.text) || joined(data["text/plain"]);
  return text ? <pre tabIndex={0}>{cut(text.replace(COLOURS, ""))}</pre> : <p class="muted">{t("preview.output", { kind: Object.keys(data).join(", ") || "–" })}</p>;
}

const cut = (text: string) => (text.length > OUTPUT_MAX ? `${text.slice(0, OUTPUT_MAX)}…` : text);

/** A picture within the notebook, by an address of this page alone. */
function Picture({ type, data, text }: { type: string; data: string; text: string }) {
  const [url, setUrl] = useState("");
  useEffect(() => {
    const made = urlOf(type, data);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [type, data]);
  return url ? <img src={url} alt={text || t("preview.result")} /> : <p class="muted">{t("preview.output", { kind: type })}</p>;
}

/** The address of a picture in base64; empty when it is no base64. */
function urlOf(type: string, data: string): string {
  try {
    const bytes = Uint8Array.from(atob(data.replace(/\s/g, "")), (sign) => sign.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type }));
  } catch {
    return "";
  }
}

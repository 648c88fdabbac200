/** Markdown (GitHub's flavour) as elements. No HTML is ever made of it: tags are shown as text, pictures are not loaded, links lead nowhere. */
import { Lexer, type MarkedToken, type Token, type Tokens } from "marked";
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import { t } from "../texts";

/** Character references that people write; others stay as they are written. */
const REFERENCES: Record<string, string> = { amp: "&", apos: "'", copy: "©", gt: ">", hellip: "…", laquo: "«", lt: "<", mdash: "—", nbsp: "\u00a0", ndash: "–", quot: '"', raquo: "»", times: "×" };
const CODE_POINT_MAX = 0x10ffff;
/** Deeper nesting of quotes, lists and marks is shown as it is written. */
const DEPTH_MAX = 40;

/** Text with its character references resolved (CommonMark, "Entity and numeric character references"). */
function resolved(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w{1,8}));/g, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name) return REFERENCES[name] ?? whole;
    const point = decimal ? Number(decimal) : parseInt(hex!, 16);
    return point === 0 || point > CODE_POINT_MAX ? "\ufffd" : String.fromCodePoint(point);
  });
}

/** The parts of a text; null where it is nested too deep to be read. */
function lexed(text: string): Token[] | null {
  try {
    return new Lexer({ gfm: true }).lex(text);
  } catch {
    return null;
  }
}

export function Markdown({ text }: { text: string }) {
  const tokens = useMemo(() => lexed(text), [text]);
  return tokens ? <div class="markdown">{shown(tokens, 0)}</div> : <pre class="wrap" tabIndex={0}>{text}</pre>;
}

const shown = (tokens: Token[] | undefined, depth: number): ComponentChildren =>
  (tokens ?? []).map((token, at) => <Piece key={at} token={token as MarkedToken} depth={depth + 1} />);

function Piece({ token, depth }: { token: MarkedToken; depth: number }) {
  if (depth > DEPTH_MAX) return <>{token.raw}</>;
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading": {
      // The dialog that it stands in has the first heading.
      const Heading = `h${Math.min(token.depth + 2, 6)}` as "h3";
      return <Heading>{shown(token.tokens, depth)}</Heading>;
    }
    case "paragraph":
      return <p>{shown(token.tokens, depth)}</p>;
    case "blockquote":
      return <blockquote>{shown(token.tokens, depth)}</blockquote>;
    case "code":
      return <pre tabIndex={0}><code>{token.text}</code></pre>;
    case "list":
      return <List list={token} depth={depth} />;
    case "list_item":
      return <li>{shown(token.tokens, depth)}</li>;
    case "checkbox":
      return <input type="checkbox" checked={token.checked} disabled aria-label={t(token.checked ? "preview.done" : "preview.open")} />;
    case "table":
      return <Table table={token} depth={depth} />;
    case "hr":
      return <hr />;
    case "br":
      return <br />;
    case "strong":
      return <strong>{shown(token.tokens, depth)}</strong>;
    case "em":
      return <em>{shown(token.tokens, depth)}</em>;
    case "del":
      return <del>{shown(token.tokens, depth)}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "link":
      return <span class="away" title={token.href}>{shown(token.tokens, depth)}</span>;
    case "image":
      return <span class="away" title={token.href}>{t("preview.picture", { name: resolved(token.text) || token.href })}</span>;
    case "html":
      return <>{token.text}</>;
    case "escape":
      return <>{token.text}</>;
    case "text":
      return <>{"tokens" in token && token.tokens ? shown(token.tokens, depth) : resolved(token.text)}</>;
  }
}

function List({ list, depth }: { list: Tokens.List; depth: number }) {
  const items = shown(list.items, depth);
  return list.ordered ? <ol start={list.start || 1}>{items}</ol> : <ul>{items}</ul>;
}

function Table({ table, depth }: { table: Tokens.Table; depth: number }) {
  const align = (at: number) => ({ textAlign: table.align[at] ?? undefined });
  return (
    <div class="csv" tabIndex={0} role="region" aria-label={t("preview.table")}>
      <table>
        <thead><tr>{table.header.map((cell, at) => <th key={at} scope="col" style={align(at)}>{shown(cell.tokens, depth)}</th>)}</tr></thead>
        <tbody>{table.rows.map((row, line) => <tr key={line}>{row.map((cell, at) => <td key={at} style={align(at)}>{shown(cell.tokens, depth)}</td>)}</tr>)}</tbody>
      </table>
    </div>
  );
}

/**
 * The list of all pages: only visible rows are in the page. `role=grid` with counts and indexes, one
 * tab stop, and one active row (`aria-activedescendant`), so that the focus survives every change.
 */
import type { ComponentChildren, VNode } from "preact";
import { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { t } from "../texts";
import { taste } from "../lib/taste";
import { Button, IconButton } from "./controls";
import { Icon } from "./icon";
import { showMenu, type MenuItems } from "./menu";
import type { Selection } from "./selection";
import { useWaiting } from "./waiting";

export interface Column<Row> {
  key: string;
  title: string;
  /** A track of CSS grid: `minmax(0, 1fr)`, `110px`. */
  width: string;
  cell: (row: Row) => ComponentChildren;
  /** Numbers stand at the right. */
  end?: boolean;
  sortable?: boolean;
  /** Not shown below this width of the list (pixels). */
  from?: number;
}
export interface Sort {
  key: string;
  down: boolean;
}
interface GridProps<Row> {
  label: string;
  rows: Row[];
  rowKey: (row: Row) => string;
  columns: Array<Column<Row>>;
  /** The line below the name on narrow screens. */
  detail?: (row: Row) => ComponentChildren;
  /** The text that letters jump to. */
  text: (row: Row) => string;
  /** All rows that there are; null while it is not known. */
  total?: number | null;
  selection?: Selection;
  sort?: Sort;
  onSort?: (sort: Sort) => void;
  onOpen?: (row: Row) => void;
  menu?: (row: Row) => MenuItems;
  /** A key that the list itself does not use; true when it was used. */
  onKey?: (event: KeyboardEvent, row: Row | null) => boolean;
  /** A row that is about to change: it is shown so. */
  isLeaving?: (row: Row) => boolean;
  /** Which list of the service it is: its new rows wait while it is read. Without it they never wait. */
  waits?: string;
  /** Fits its rows, in place of filling the page. */
  short?: boolean;
}

const HEIGHTS = { normal: 36, dense: 28, touch: 56 };
/** Rows above and below those that are seen: enough for what a wheel or finger moves until the next frame. */
const BEFORE = 4;
const TYPE_AHEAD_MS = 700;
const LONG_PRESS_MS = 450;
const NARROW = 560;

export function Grid<Row>(props: GridProps<Row>) {
  const { rowKey, selection, columns, short = false } = props;
  const id = useId();
  const box = useRef<HTMLDivElement>(null);
  const { rows, count: waiting, show } = useWaiting(props.waits ?? null, props.rows, rowKey, () => isRead(box.current, selection));
  const [view, setView] = useState({ top: 0, height: 600, width: 900 });
  const keys = useMemo(() => rows.map(rowKey), [rows]);
  const places = useMemo(() => new Map(keys.map((key, index) => [key, index])), [keys]);
  const narrow = view.width < NARROW;
  const height = narrow ? HEIGHTS.touch : HEIGHTS[taste.value.density];
  const wide = columns.filter((one) => view.width >= (one.from ?? 0)).length;
  const shownColumns = useMemo(
    () => (narrow ? columns.slice(0, 1) : columns.filter((one) => view.width >= (one.from ?? 0))),
    [columns, narrow, wide],
  );
  const [ownActive, setOwnActive] = useState<string | null>(null);
  const active = selection ? selection.active.value : ownActive;
  const activeIndex = active === null ? -1 : (places.get(active) ?? -1);
  const before = useRef(keys);

  useEffect(() => {
    if (before.current !== keys) selection?.keep(keys, before.current);
    before.current = keys;
  }, [keys]);

  useLayoutEffect(() => {
    const element = box.current!;
    const look = () => setView({ top: element.scrollTop, height: element.clientHeight, width: element.clientWidth });
    let frame = 0;
    const scrolled = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(look);
    };
    element.addEventListener("scroll", scrolled, { passive: true });
    const sizes = new ResizeObserver(scrolled);
    sizes.observe(element);
    look();
    return () => {
      element.removeEventListener("scroll", scrolled);
      sizes.disconnect();
      cancelAnimationFrame(frame);
    };
  }, []);

  // As many rows at each place: then the elements of rows are enough, and none is made or removed.
  const room = Math.min(rows.length, Math.ceil(view.height / height) + 1 + 2 * BEFORE);
  const first = Math.max(0, Math.min(rows.length - room, Math.floor(view.top / height) - BEFORE));
  const last = first + room;
  const slotOf = useSlots(first, last);
  const visible: number[] = [];
  if (activeIndex >= 0 && activeIndex < first) visible.push(activeIndex);
  for (let index = first; index < last; index++) visible.push(index);
  if (activeIndex >= last) visible.push(activeIndex);

  const reveal = (index: number) => {
    const element = box.current!;
    if (index * height < element.scrollTop) element.scrollTop = index * height;
    else if ((index + 1) * height > element.scrollTop + element.clientHeight)
      element.scrollTop = (index + 1) * height - element.clientHeight;
  };
  const setActive = (index: number, event?: KeyboardEvent) => {
    const to = Math.max(0, Math.min(rows.length - 1, index));
    const key = keys[to];
    if (key === undefined) return;
    if (!selection) setOwnActive(key);
    else if (event?.shiftKey) selection.extend(keys, key);
    else selection.move(key);
    reveal(to);
  };

  const typed = useRef({ text: "", at: 0 });
  const jump = (sign: string) => {
    const now = performance.now();
    const text = (now - typed.current.at < TYPE_AHEAD_MS ? typed.current.text : "") + sign.toLowerCase();
    typed.current = { text, at: now };
    const from = Math.max(0, activeIndex) + (text.length === 1 ? 1 : 0);
    for (let step = 0; step < rows.length; step++) {
      const index = (from + step) % rows.length;
      if (props.text(rows[index]!).toLowerCase().startsWith(text)) return setActive(index);
    }
  };

  const onKeyDown = (event: KeyboardEvent) => {
    const row = activeIndex >= 0 ? rows[activeIndex]! : null;
    const page = Math.max(1, Math.floor(view.height / height) - 1);
    const steps: Record<string, number> = {
      ArrowDown: activeIndex + 1, ArrowUp: activeIndex < 0 ? 0 : activeIndex - 1, Home: 0, End: rows.length - 1,
      PageDown: activeIndex + page, PageUp: activeIndex - page,
    };
    const control = event.ctrlKey || event.metaKey;
    if (event.key in steps && !event.altKey) setActive(steps[event.key]!, event);
    else if (props.onKey?.(event, row)) void 0;
    else if (event.key === "Enter" && row) props.onOpen?.(row);
    else if (event.key === " " && row && selection) selection.toggle(rowKey(row));
    else if (event.key.toLowerCase() === "a" && control && selection) selection.all(keys);
    else if (event.key === "Escape" && selection?.keys.value.size) selection.clear();
    else if ((event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) && row && props.menu) openMenu(row);
    else if (event.key.length === 1 && event.key !== " " && event.key !== "/" && event.key !== "?" && !control && !event.altKey) jump(event.key);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const rowId = (index: number) => `${id}-${index}`;
  const drawn = useDrawn();
  const openMenu = (row: Row, at?: { x: number; y: number }) => {
    const index = places.get(rowKey(row))!;
    const element = document.getElementById(rowId(index));
    const button = element?.querySelector<HTMLElement>("[data-menu]") ?? element;
    showMenu(t("actions.of", { name: props.text(row) }), props.menu!(row), at ?? button ?? box.current!);
  };

  const tracks = [selection ? "36px" : "", ...shownColumns.map((one) => one.width), props.menu ? "calc(var(--target) + 8px)" : ""].filter(Boolean).join(" ");
  const columnCount = shownColumns.length + (selection ? 1 : 0) + (props.menu ? 1 : 0);
  const total = props.total === undefined ? rows.length : props.total;
  const head = narrow ? 0 : 1;
  const all = selection !== undefined && rows.length > 0 && selection.count.value === rows.length;

  return (
    <>
    <div class={`grid ${short ? "short" : ""} ${narrow ? "narrow" : ""}`} role="grid" aria-label={props.label}
      aria-rowcount={total === null ? -1 : total + head} aria-colcount={columnCount} aria-multiselectable={selection ? true : undefined}
      aria-activedescendant={activeIndex >= 0 ? rowId(activeIndex) : undefined} tabIndex={0}
      style={{ "--tracks": tracks, "--row": `${height}px` }} onKeyDown={onKeyDown}
      onFocus={(event) => { if (event.target === event.currentTarget && activeIndex < 0 && rows.length) setActive(0); }}>
      {!narrow && (
        <div class="grid-head" role="row" aria-rowindex={1}>
          {selection && (
            <div role="columnheader" class="check">
              <input type="checkbox" tabIndex={-1} aria-label={t("select.all")} checked={all}
                indeterminate={!all && selection.count.value > 0}
                onChange={() => (all ? selection.clear() : selection.all(keys))} />
            </div>
          )}
          {shownColumns.map((column) => <Head key={column.key} column={column} sort={props.sort} onSort={props.onSort} />)}
          {props.menu && <div role="columnheader"><span class="visually-hidden">{t("actions")}</span></div>}
        </div>
      )}
      <div class="grid-box" ref={box} role="presentation" style={short ? { height: `${Math.max(1, rows.length) * height}px` } : {}}>
        <div class="grid-all" role="presentation" style={{ height: `${rows.length * height}px` }}>
          {visible.map((index) => {
            const row = rows[index]!;
            const key = keys[index]!;
            const slot = index < first || index >= last ? "active" : slotOf(index);
            const isActive = index === activeIndex;
            const selected = selection?.keys.value.has(key);
            const leaving = props.isLeaving?.(row) ?? false;
            return drawn(slot, [props, keys, row, index, height, shownColumns, isActive, selected, leaving], () => (
              <GridRow key={slot} id={rowId(index)} row={row} index={index + 1 + head} top={index * height} columns={shownColumns}
                active={isActive} selected={selected} detail={narrow ? props.detail : undefined}
                text={props.text(row)} hasMenu={Boolean(props.menu)} leaving={leaving}
                onToggle={selection ? () => selection.toggle(key) : undefined}
                onMenu={(at) => openMenu(row, at)}
                onOpen={() => props.onOpen?.(row)}
                onPick={(event) => {
                  if (!selection) setOwnActive(key);
                  else if (event.shiftKey) selection.extend(keys, key);
                  else if (event.ctrlKey || event.metaKey || (narrow && selection.count.value > 0)) selection.toggle(key);
                  else if (narrow) props.onOpen?.(row);
                  else selection.only(key);
                }} />
            ));
          })}
        </div>
      </div>
    </div>
    {props.waits !== undefined && (
      <div class="grid-new" role="status">
        {waiting > 0 && <Button icon="up" onClick={show}>{t("rows.new", { n: waiting })}</Button>}
      </div>
    )}
    </>
  );
}

/** Whether a list is read: the pointer or the focus is in it, it is scrolled, or rows are selected. */
function isRead(box: HTMLElement | null, selection: Selection | undefined): boolean {
  const grid = box?.parentElement;
  return Boolean(grid && (box.scrollTop > 0 || grid.matches(":hover") || grid.contains(document.activeElement) || selection?.count.value));
}

/**
 * Elements of rows are used again for other rows: that costs a third of making them.
 *
 * Rows that follow each other have slots that do, so few elements move. After a jump to rows of which
 * none was there, the slots begin anew, and no element moves.
 */
function useSlots(first: number, last: number): (index: number) => number {
  const seen = useRef({ first: 0, last: 0, begin: 0 });
  const { first: from, last: to, begin } = seen.current;
  seen.current = { first, last, begin: first < to && from < last ? begin : first };
  const room = Math.max(1, last - first);
  const shift = room - (seen.current.begin % room);
  return (index) => (index + shift) % room;
}

/** Rows as they were drawn: the same one again as long as nothing of it changed, and then it costs nothing. */
function useDrawn(): (slot: string | number, of: unknown[], draw: () => VNode) => VNode {
  type Kept = Map<string | number, { of: unknown[]; row: VNode }>;
  // In a reference alone: acts of rows keep the scope of their drawing, which must not keep the one before, and so on.
  const kept = useRef<{ before: Kept; now: Kept }>({ before: new Map(), now: new Map() });
  kept.current = { before: kept.current.now, now: new Map() };
  useLayoutEffect(() => {
    kept.current.before = new Map();
  });
  return (slot, of, draw) => {
    const { before, now } = kept.current;
    const known = before.get(slot);
    const same = known?.of.every((one, at) => one === of[at]) ? known : { of, row: draw() };
    now.set(slot, same);
    return same.row;
  };
}

function Head<Row>({ column, sort, onSort }: {
  column: Column<Row>;
  sort: Sort | undefined;
  onSort: ((sort: Sort) => void) | undefined;
}) {
  const sorted = sort?.key === column.key;
  const order = sorted ? (sort.down ? "descending" : "ascending") : "none";
  if (!column.sortable || !onSort) return <div role="columnheader" class={column.end ? "end" : ""}>{column.title}</div>;
  return (
    <div role="columnheader" class={column.end ? "end" : ""} aria-sort={order}>
      <button type="button" tabIndex={-1} onClick={() => onSort({ key: column.key, down: sorted ? !sort.down : false })}>
        {column.title}
        {sorted && <Icon name={sort.down ? "down" : "up"} class="small" />}
      </button>
    </div>
  );
}

interface RowProps<Row> {
  id: string;
  row: Row;
  index: number;
  top: number;
  columns: Array<Column<Row>>;
  active: boolean;
  selected: boolean | undefined;
  detail: ((row: Row) => ComponentChildren) | undefined;
  text: string;
  hasMenu: boolean;
  leaving: boolean;
  onToggle: (() => void) | undefined;
  onMenu: (at?: { x: number; y: number }) => void;
  onOpen: () => void;
  onPick: (event: MouseEvent) => void;
}

function GridRow<Row>(props: RowProps<Row>) {
  const { row, columns, selected, detail } = props;
  const press = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const pressed = useRef(false);
  return (
    <div id={props.id} role="row" aria-rowindex={props.index} aria-selected={selected}
      class={`grid-row ${props.active ? "active" : ""} ${selected ? "selected" : ""} ${props.leaving ? "leaving" : ""}`} style={{ top: `${props.top}px` }}
      onClick={(event) => {
        if (pressed.current) return void (pressed.current = false);
        if (!(event.target as Element).closest("a, button, input")) props.onPick(event);
      }}
      onDblClick={(event) => { if (!(event.target as Element).closest("a, button, input")) props.onOpen(); }}
      onContextMenu={(event) => {
        if (!props.hasMenu || pressed.current) return;
        event.preventDefault();
        props.onMenu({ x: event.clientX, y: event.clientY });
      }}
      onTouchStart={() => {
        press.current = setTimeout(() => { pressed.current = true; props.onToggle?.(); }, LONG_PRESS_MS);
      }}
      onTouchMove={() => clearTimeout(press.current)} onTouchEnd={() => clearTimeout(press.current)}>
      {props.onToggle && (
        <div role="gridcell" class="check">
          <input type="checkbox" tabIndex={-1} checked={selected ?? false} aria-label={t("select.one", { name: props.text })}
            onChange={props.onToggle} />
        </div>
      )}
      {columns.map((column) => (
        <div key={column.key} role="gridcell" class={column.end ? "end" : ""}>
          {column.cell(row)}
          {detail && column === columns[0] && <div class="detail">{detail(row)}</div>}
        </div>
      ))}
      {props.hasMenu && (
        <div role="gridcell" class="acts-cell">
          <IconButton data-menu icon="more" label={t("actions.of", { name: props.text })} tabIndex={-1} aria-haspopup="menu" onClick={() => props.onMenu()} />
        </div>
      )}
    </div>
  );
}

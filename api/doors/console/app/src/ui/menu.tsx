/** Menus: one `popover` of the page, shown beside what was pressed, with arrow keys inside. */
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Icon, type IconName } from "./icon";

export interface MenuItem {
  label: string;
  icon?: IconName;
  danger?: boolean;
  checked?: boolean;
  disabled?: boolean;
  /** Why it is off; the tooltip says it. */
  why?: string | undefined;
  run: () => void;
}
export type MenuItems = Array<MenuItem | null | false>;
interface Shown {
  label: string;
  items: MenuItem[];
  at: { left: number; right: number; top: number; bottom: number };
  from: HTMLElement | null;
}
const shown = signal<Shown | null>(null);

/** Show a menu beside an element, or at a point. */
export function showMenu(label: string, items: MenuItems, beside: HTMLElement | { x: number; y: number }): void {
  const found = items.filter((one): one is MenuItem => Boolean(one));
  const isElement = beside instanceof HTMLElement;
  const at = isElement
    ? beside.getBoundingClientRect()
    : { left: beside.x, right: beside.x, top: beside.y, bottom: beside.y };
  shown.value = { label, items: found, at, from: isElement ? beside : (document.activeElement as HTMLElement | null) };
}

export function Menu({ label, icon = "more", text, items, class: more = "", tabIndex }: {
  label: string;
  icon?: IconName;
  text?: string;
  items: () => MenuItems;
  class?: string;
  tabIndex?: number;
}) {
  const button = useRef<HTMLButtonElement>(null);
  return (
    <button ref={button} type="button" class={`button quiet ${text ? "" : "only"} ${more}`} aria-label={text ? undefined : label}
      title={text ? undefined : label} aria-haspopup="menu" tabIndex={tabIndex}
      onClick={(event) => {
        event.stopPropagation();
        showMenu(label, items(), button.current!);
      }}>
      <Icon name={icon} />
      {text && <span>{text}</span>}
      {text && <Icon name="expand" class="small" />}
    </button>
  );
}

const MARGIN = 8;

/** The place of the menu in the page. */
export function Menus() {
  const list = useRef<HTMLDivElement>(null);
  const now = shown.value;
  const entries = () => [...list.current!.querySelectorAll<HTMLButtonElement>("button:not(:disabled)")];
  useEffect(() => {
    const menu = list.current!;
    if (!now) return;
    menu.showPopover();
    const { offsetWidth: width, offsetHeight: height } = menu;
    const fits = now.at.bottom + 4 + height <= innerHeight;
    const left = now.at.left === now.at.right ? now.at.left : now.at.right - width;
    menu.style.left = `${Math.max(MARGIN, Math.min(left, innerWidth - width - MARGIN))}px`;
    menu.style.top = `${fits ? now.at.bottom + 4 : Math.max(MARGIN, now.at.top - height - 4)}px`;
    entries()[0]?.focus();
  }, [now]);
  const close = () => {
    if (list.current?.matches(":popover-open")) list.current.hidePopover();
  };
  return (
    <div ref={list} popover="auto" role="menu" aria-label={now?.label} class="menu"
      onToggle={(event) => {
        if ((event as unknown as ToggleEvent).newState !== "closed") return;
        const from = shown.peek()?.from;
        shown.value = null;
        // A row of a list has no focus of its own: its list has it.
        const home = from?.closest<HTMLElement>("[role=grid]") ?? from;
        if (!document.activeElement || document.activeElement === document.body) home?.focus();
      }}
      onKeyDown={(event) => {
        const found = entries();
        const at = found.indexOf(document.activeElement as HTMLButtonElement);
        const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: found.length - 1 }[event.key];
        event.stopPropagation();
        if (event.key === "Tab") close();
        if (to === undefined) return;
        event.preventDefault();
        found[(to + found.length) % found.length]?.focus();
      }}>
      {now?.items.map((one) => (
        <button key={one.label} type="button" role={one.checked === undefined ? "menuitem" : "menuitemradio"} aria-checked={one.checked}
          class={one.danger ? "danger" : ""} disabled={one.disabled} title={one.disabled ? one.why : undefined} tabIndex={-1}
          onClick={() => { close(); one.run(); }}>
          {one.checked ? <Icon name="check" /> : one.icon ? <Icon name={one.icon} /> : <span class="icon" />}
          <span>{one.label}</span>
        </button>
      ))}
    </div>
  );
}

/**
 * Focus that is never lost: when what had it leaves the page, the list of the page gets it, else the page.
 *
 * A toolbar goes with its selection, a directory with the list before, a button with its act. Without
 * this the focus would fall to the document, and the next key would do nothing.
 */

/** What had the focus last. */
let last: Element | null = null;
/** The focus was lost in a list, and its page has no list yet. */
let waitsForList = false;

const isLost = () => document.activeElement === document.body || document.activeElement === null;
const inMain = (selector: string) => document.querySelector<HTMLElement>(`#main ${selector}`);

function settle(): void {
  const isOurs = waitsForList && document.activeElement?.id === "main";
  const isGone = last !== null && !last.isConnected && isLost();
  // A dialog keeps its own focus, and gives it back when it closes.
  if ((!isOurs && !isGone) || document.querySelector("dialog[open]")) return;
  const list = inMain("[role=grid]");
  waitsForList = !list;
  (list ?? document.getElementById("main"))?.focus({ preventScroll: true });
}

/** Keep the focus inside this element's pages; called once. */
export function keepFocus(root: HTMLElement): void {
  root.addEventListener("focusin", (event) => {
    last = event.target as Element;
  });
  // Who uses a key or a pointer goes where it leads.
  for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, () => (waitsForList = false), true);
  new MutationObserver(settle).observe(root, { childList: true, subtree: true });
}

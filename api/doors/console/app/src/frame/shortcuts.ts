/** Keys of the whole console. Single letters can be switched off (WCAG 2.1.4). */
import { taste } from "../lib/taste";

type Keys = Record<string, () => void>;
const stack: Keys[] = [];

/** Take keys until the returned function is called; the newest taker wins. `g f` is two keys. */
export function takeKeys(keys: Keys): () => void {
  stack.push(keys);
  return () => void stack.splice(stack.indexOf(keys), 1);
}

let prefix = "";
const PREFIX_MS = 1200;

function isField(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  return Boolean(element?.closest?.("input:not([type=checkbox]), textarea, select, dialog, [role=menu]"));
}

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || isField(event.target)) return;
  if (event.key.length === 1 && !taste.value.letters) return;
  const pressed = prefix + event.key;
  prefix = "";
  for (const keys of [...stack].reverse()) {
    const run = keys[pressed];
    if (run) {
      event.preventDefault();
      run();
      return;
    }
    if (Object.keys(keys).some((one) => one.startsWith(`${pressed} `))) {
      prefix = `${pressed} `;
      setTimeout(() => (prefix = ""), PREFIX_MS);
      return;
    }
  }
});

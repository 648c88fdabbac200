/** What a person likes: theme, density, language. It is all that the browser keeps. */
import { effect, signal } from "@preact/signals";
import { speak, type Language } from "./text";

export type Theme = "system" | "light" | "dark";
export type Density = "normal" | "dense";
interface Taste {
  theme: Theme;
  density: Density;
  language: Language | "system";
  letters: boolean;
}

const KEY = "vfolder.taste";
const DEFAULTS: Taste = { theme: "system", density: "normal", language: "system", letters: true };

function kept(): Taste {
  try {
    return { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Taste>) };
  } catch {
    return DEFAULTS;
  }
}

export const taste = signal<Taste>(kept());
export const prefer = (changes: Partial<Taste>) => (taste.value = { ...taste.value, ...changes });

const wantedLanguage = (): Language => {
  const chosen = taste.value.language;
  if (chosen !== "system") return chosen;
  return navigator.language.toLowerCase().startsWith("ko") ? "ko" : "en";
};

/** Apply the taste now and at each change; resolves when the texts are there. */
export function applyTaste(): Promise<void> {
  effect(() => {
    const { theme, density } = taste.value;
    const root = document.documentElement;
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    root.dataset.density = density;
    try {
      localStorage.setItem(KEY, JSON.stringify(taste.value));
    } catch {
      /* private windows keep nothing */
    }
  });
  let first: Promise<void> = Promise.resolve();
  effect(() => {
    first = speak(wantedLanguage());
  });
  return first;
}

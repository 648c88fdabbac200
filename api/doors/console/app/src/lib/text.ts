/** Texts of the console: one catalogue of people's pages, one of operators'. No text is in code. */
import { signal } from "@preact/signals";

export type Language = "en" | "ko";
export type Values = Record<string, string | number>;
type Catalogue = Record<string, string>;

export const language = signal<Language>("en");
const follow: Array<(to: Language) => Promise<void>> = [];

/**
 * Returns the function that gives the texts of a catalogue. `one|many` is chosen by the value `n`,
 * `{name}` is replaced, and numbers are written as the language does.
 */
export function texts<C extends Catalogue>(
  english: C,
  korean: () => Promise<{ default: Record<keyof C, string> }>,
) {
  const current = signal<Catalogue>(english);
  const change = async (to: Language) => {
    current.value = to === "ko" ? (await korean()).default : english;
  };
  follow.push(change);
  if (language.value !== "en") void change(language.value);
  return (key: keyof C & string, values: Values = {}): string =>
    filled(current.value[key] ?? english[key] ?? key, values);
}

export async function speak(to: Language): Promise<void> {
  await Promise.all(follow.map((one) => one(to)));
  language.value = to;
  document.documentElement.lang = to;
}

/** The formatters of the present language; making one costs more than many uses. */
let made: { of: string; numbers: Intl.NumberFormat; plurals: Intl.PluralRules } | undefined;
function formatters() {
  if (made?.of !== language.value)
    made = { of: language.value, numbers: new Intl.NumberFormat(language.value), plurals: new Intl.PluralRules(language.value) };
  return made;
}

function formOf(text: string, n: number): string {
  const forms = text.split("|");
  if (forms.length === 1) return text;
  return forms[formatters().plurals.select(n) === "one" ? 0 : forms.length - 1]!;
}

function filled(text: string, values: Values): string {
  return (values.n === undefined ? text : formOf(text, Number(values.n))).replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? formatters().numbers.format(value) : value;
  });
}

/** Comparing the settings of two nodes: what *Copy values* gave on another node is pasted here. */
import { useSignal } from "@preact/signals";
import { Field } from "../ui/controls";
import { FormDialog, openDialog } from "../ui/dialog";
import { t } from "./text";
import type { Setting } from "./types";

/** Values by key. */
export type Values = ReadonlyMap<string, string>;
const SIGN = " = ";

/** The values of lines as *Copy values* writes them; other lines say nothing. */
function valuesOf(text: string): Values {
  const lines = text.split("\n").filter((line) => line.includes(SIGN));
  return new Map(lines.map((line) => {
    const at = line.indexOf(SIGN);
    return [line.slice(0, at).trim(), line.slice(at + SIGN.length).trim()];
  }));
}

/** What differs, in the order of this node; keys that only the other node has are behind them. */
export function differing(settings: Setting[], other: Values): Setting[] {
  const own = new Set(settings.map((one) => one.key));
  const absent = [...other.keys()].filter((key) => !own.has(key));
  return [
    ...settings.filter((one) => other.get(one.key) !== one.value.trim()),
    ...absent.map((key) => ({ key, value: "", source: "default", waits: false })),
  ];
}

export function askOther(take: (values: Values) => void): void {
  openDialog((close) => <OtherDialog take={take} close={close} />);
}

function OtherDialog({ take, close }: { take: (values: Values) => void; close: () => void }) {
  const text = useSignal("");
  const values = valuesOf(text.value);
  return (
    <FormDialog title={t("compare.title")} confirm={t("compare")} disabled={values.size === 0} wide onClose={close} onConfirm={() => take(values)}>
      <Field label={t("compare.values")} hint={t("compare.hint")}>
        {(ids) => <textarea {...ids} class="mono" rows={10} value={text.value} spellcheck={false} onInput={(event) => (text.value = event.currentTarget.value)} />}
      </Field>
    </FormDialog>
  );
}

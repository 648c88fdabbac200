/** Buttons, fields, and small things of one line. */
import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import { exactBytes, exactMoment, moment, size } from "../lib/format";
import { isOdd, shown, words } from "../lib/names";
import { Icon, type IconName } from "./icon";

type Attributes = Omit<JSX.IntrinsicElements["button"], "icon">;

interface ButtonProps extends Attributes {
  icon?: IconName;
  kind?: "plain" | "main" | "danger" | "quiet";
  children?: ComponentChildren;
}

/** A button says a verb and its object. */
export function Button({ icon, kind = "plain", children, class: more = "", ...rest }: ButtonProps) {
  return (
    <button type="button" class={`button ${kind} ${String(more)}`} {...rest}>
      {icon && <Icon name={icon} />}
      {children != null && <span>{children}</span>}
    </button>
  );
}

/** A button with a picture alone; `label` is its name and its tooltip. */
export function IconButton({ icon, label, class: more = "", ...rest }: Attributes & { icon: IconName; label: string }) {
  return (
    <button type="button" class={`button quiet only ${String(more)}`} aria-label={label} title={label} {...rest}>
      <Icon name={icon} />
    </button>
  );
}

interface FieldProps {
  label: string;
  hint?: string;
  error?: string | undefined;
  children: (ids: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => ComponentChildren;
}

/** A labelled control, with its hint and what is wrong with its value. */
export function Field({ label, hint, error, children }: FieldProps) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({
        id,
        ...(described ? { "aria-describedby": described } : {}),
        ...(error ? { "aria-invalid": true } : {}),
      })}
      {hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}
      {error && <p class="wrong" id={`${id}-error`} role="alert">{error}</p>}
    </div>
  );
}

/** A moment, relative; in full as tooltip. */
export function Time({ at }: { at: string | null | undefined }) {
  return at ? <time dateTime={at} title={exactMoment(at)}>{moment(at)}</time> : <span>–</span>;
}

/** A size; exact bytes as tooltip. */
export function Size({ bytes }: { bytes: number | null | undefined }) {
  return <span class="number" title={exactBytes(bytes)}>{size(bytes)}</span>;
}

/** A name that users gave: what is not seen is made visible, and a long one breaks between its words, or not at all (`whole`). */
export function Name({ text, whole = false }: { text: string; whole?: boolean }) {
  const parts = whole ? shown(text) : words(shown(text)).flatMap((word, at) => (at ? [<wbr />, word] : [word]));
  return <bdi class={isOdd(text) ? "name odd" : "name"}>{parts}</bdi>;
}

/** A bar; without a value it only says that work goes on. */
export function Progress({ value, label }: { value: number | null | undefined; label: string }) {
  return value == null ? (
    <progress aria-label={label} />
  ) : (
    <progress aria-label={label} value={Math.min(100, Math.max(0, value))} max={100} />
  );
}

/** A state in words and a colour. */
export function State({ kind, children }: { kind: "ok" | "warn" | "bad" | "idle" | "busy"; children: ComponentChildren }) {
  return <span class={`state ${kind}`}>{children}</span>;
}

export function Choice<T extends string>({ label, value, options, onChange }: {
  label: string;
  value: T;
  options: Array<[T, string]>;
  onChange: (value: T) => void;
}) {
  return (
    <Field label={label}>
      {(ids) => (
        <select {...ids} value={value} onChange={(event) => onChange(event.currentTarget.value as T)}>
          {options.map(([key, text]) => <option key={key} value={key}>{text}</option>)}
        </select>
      )}
    </Field>
  );
}
